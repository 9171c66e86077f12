"""`cml_tf.analyse` from working directories to tables, pictures and an index, and one line for every mistake."""

import csv
import json
import math
from typing import NamedTuple

import pytest
from PIL import Image

from cml_tf.studies.analyses.figures import ANALYSES
from tests.helpers.programs import run_programs
from tests.helpers.run_folders import snapshot

# tests/analyses look at the same functions in this process.
pytestmark = [pytest.mark.slow, pytest.mark.long]

TRAIN, ANALYSE = "cml_tf.train", "cml_tf.analyse"
WAVES = "--config=configs/sinusoid.py:cml,5shot,smoke"
SMALL = ["--config.learner.hidden=(6,4)", "--config.train.steps=2", "--config.train.meta_batch=1", "--verbose=0"]
SCHEDULE = ["--config.train.first_order_steps=1", "--config.train.cosine_steps=2"]
# What is not defined for two runs.
NO_CO_LEARNER, REPTILE = "it has no co-learner", "Reptile's outer step is not the gradient"


class Output(NamedTuple):
    """What one call left behind."""

    out: str
    index: dict
    tables: dict[str, list[dict[str, str]]]

    @property
    def entries(self):
        return {entry["name"]: entry for entry in self.index["analyses"]}


def read_output(folder, out) -> Output:
    index = json.loads((folder / "index.json").read_text())
    files = {entry["name"]: entry["files"] for entry in index["analyses"] if entry["files"]}
    tables = {name: list(csv.DictReader((folder / kinds["csv"]).open())) for name, kinds in files.items()}
    return Output(out, index, tables)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Finished runs: waves by several methods, and glyphs (with an MLP, which compiles quickly)."""
    folder = tmp_path_factory.mktemp("analyse")
    runs = {
        "cml": [WAVES],
        "maml": [WAVES.replace("cml", "maml")],
        "cl": [f"{WAVES},cl"],
        "reptile": [f"{WAVES},reptile"],
        "maml_plus_plus": [f"{WAVES},maml_plus_plus", *SCHEDULE],
        "cml_seed_1": [WAVES, "--config.seed=1", "--config.eval.seed=1"],
        "maml_seed_1": [WAVES.replace("cml", "maml"), "--config.seed=1", "--config.eval.seed=1"],
        "other_data": [WAVES, "--config.dataset.shots=4"],
        "glyphs": ["--config=configs/glyphs.py:smoke", "--config.learner.name=mlp", "--config.dataset.ways=3"],
    }
    calls = [[TRAIN, *flags, *SMALL, f"--workdir={folder / name}"] for name, flags in runs.items()]
    for name, finished in zip(runs, run_programs(calls), strict=True):
        assert (finished.code, finished.messages) == (0, []), (name, finished)
    (folder / "file").write_text("years of work")
    return folder


@pytest.fixture(scope="module")
def outputs(folder):
    waves = ",".join(f"{folder}/{name}" for name in ("maml", "cml", "cl", "reptile", "maml_plus_plus"))
    seeds = ",".join(f"{folder}/{name}" for name in ("maml", "maml_seed_1", "cml", "cml_seed_1"))
    calls = {
        "waves": [f"--workdirs={waves}", "--episodes=5"],
        "again": [f"--workdirs={waves}", "--episodes=5", "--analyses=gradient_cosine,linear_cka"],
        "glyphs": [f"--workdirs={folder}/glyphs", "--names=ours", "--checkpoint=latest"],
        "seeds": [f"--workdirs={seeds}", "--names=MAML,MAML,CML,CML", "--episodes=5"],
    }
    before = snapshot(folder)
    finished = run_programs([[ANALYSE, *flags, f"--output={folder}/out/{name}"] for name, flags in calls.items()])
    for name, done in zip(calls, finished, strict=True):
        assert (done.code, done.messages) == (0, []), (name, done)
    after = {name: content for name, content in snapshot(folder).items() if not name.startswith("out/")}
    assert after == before, "the runs were changed"
    return {name: read_output(folder / "out" / name, done.out) for name, done in zip(calls, finished, strict=True)}


def test_the_index_names_every_analysis_with_its_files(outputs, folder):
    index = outputs["glyphs"].index
    assert [entry["name"] for entry in index["analyses"]] == [analysis.name for analysis in ANALYSES]
    assert [entry["figure"] for entry in index["analyses"]] == ["3a", "3b", "3c", "3d", "4"]
    assert (index["episodes"], index["checkpoint"]) == (4, "latest")
    (described,) = index["runs"]
    assert len(described.pop("manifest_hash")) == 64
    place = {"workdir": str(folder / "glyphs"), "step": 2, "train_steps": 2}
    assert described == {"name": "ours", "seed": 0, "eval_seed": 0, **place}
    assert "ours, seed 0: as after 2 of 2 outer steps" in outputs["glyphs"].out
    for entry in index["analyses"]:
        assert entry["title"] and entry["caption"] and entry["left_out"] == {}
        assert entry["files"] == {kind: f"{entry['name']}.{kind}" for kind in ("csv", "png", "svg")}
        with Image.open(folder / "out/glyphs" / entry["files"]["png"]) as image:
            assert image.format == "PNG" and image.width > 500
        assert "</svg>" in (folder / "out/glyphs" / entry["files"]["svg"]).read_text()
    files = {file for entry in index["analyses"] for file in entry["files"].values()}
    assert {path.name for path in (folder / "out/glyphs").iterdir()} == {"index.json", *files}


def test_tables_have_a_row_a_run_and_layer_and_what_is_not_defined_is_left_out_and_said(outputs):
    entries, tables = outputs["waves"].entries, outputs["waves"].tables
    left_out = entries["gradient_cosine"]["left_out"]
    assert left_out["maml"] == NO_CO_LEARNER and left_out["reptile"].startswith(REPTILE) and len(left_out) == 2
    assert f"left out maml: {NO_CO_LEARNER}" in outputs["waves"].out
    assert entries["query_features_tsne"]["left_out"] and entries["query_features_tsne"]["files"] == {}
    assert entries["accuracy_curves"]["files"]["csv"] == "error_curves.csv"
    assert list(dict.fromkeys(row["run"] for row in tables["gradient_cosine"])) == ["cml", "cl", "maml_plus_plus"]
    layers = ["dense 1", "dense 2"]
    for name, expected in {"gradient_cosine": [*layers, "all layers"], "linear_cka": [*layers, "head"]}.items():
        rows = [row for row in tables[name] if row["run"] == "cml"]
        assert [row["layer"] for row in rows] == expected
        for row in rows:
            assert -1 <= float(row["mean"]) <= 1 and float(row["ci95"]) >= 0 and row["episodes"] == "5"
        assert outputs["again"].tables[name] == tables[name]
    assert list(outputs["again"].entries) == ["gradient_cosine", "linear_cka"]
    norms = [row for row in tables["gradient_norm"] if row["run"] == "maml"]
    assert [(row["place"], row["layer"]) for row in norms] == [
        (place, layer) for place in ("before", "after") for layer in (*layers, "all layers")
    ]


def test_seeds_of_one_name_are_read_together(outputs):
    tables, alone = outputs["seeds"].tables, outputs["waves"].tables
    rows = [row for row in tables["linear_cka"] if row["layer"] == "dense 1"]
    seeds = [(name, seed) for name in ("MAML", "CML") for seed in ("0", "1", "all")]
    assert [(row["run"], row["seed"]) for row in rows] == seeds
    (same,) = [row for row in alone["linear_cka"] if (row["run"], row["layer"]) == ("maml", "dense 1")]
    assert {**same, "run": "MAML"} == rows[0]
    described = [(run["name"], run["seed"], run["eval_seed"]) for run in outputs["seeds"].index["runs"]]
    assert described == [(name, seed, seed) for name in ("MAML", "CML") for seed in (0, 1)]
    entries = outputs["seeds"].entries
    assert set(entries["gradient_cosine"]["left_out"]) == {"MAML"}
    assert "interval over seeds" in entries["linear_cka"]["caption"]
    assert "Mean over seeds" in entries["accuracy_curves"]["caption"]


def test_curves_are_those_of_the_metrics_file_and_features_those_of_the_first_episode(outputs, folder):
    lines = [json.loads(line) for line in (folder / "glyphs/metrics.jsonl").read_text().splitlines()]
    tables = outputs["glyphs"].tables
    for row, line in zip(tables["accuracy_curves"], lines, strict=True):
        assert (row["run"], row["split"], int(row["step"])) == ("ours", line["split"], line["step"])
        assert float(row["accuracy"]) == pytest.approx(line["accuracy"], rel=1e-6)
    for place in ("before", "after"):
        rows = [row for row in tables["query_features_tsne"] if row["place"] == place]
        assert len(rows) == 9 and len({row["class"] for row in rows}) == 3
        assert all(math.isfinite(float(row[axis])) for row in rows for axis in "xy")


# Flags, {} for the folder, and what the error names.
ERRORS = {
    "--workdirs={}/cml": "--output",
    "--workdirs={}/cml --output={}/file": "must be a directory",
    "--workdirs={}/cml --output={}/new --analyses=tsne": "'tsne'",
    "--workdirs={}/cml,{}/nowhere --output={}/new": "contains no run",
    "--workdirs={}/cml,{}/cml --output={}/new": "received seed 0 twice for 'cml'",
    "--workdirs={}/cml,{}/maml --names=one,one --output={}/new": "received seed 0 twice for 'one'",
    "--workdirs={}/cml,{}/cml_seed_1,{}/maml --names=CML,CML,MAML --output={}/new": "the same seeds of each method",
    "--workdirs={}/cml --output={}/new --episodes=1": "episodes",
    "--workdirs={}/cml,{}/other_data --output={}/new": "the same test episodes",
    "--workdirs={}/maml --output={}/new --analyses=gradient_cosine": NO_CO_LEARNER,
}


def test_mistakes_are_one_line_and_write_nothing(folder):
    before = snapshot(folder)
    calls = [[ANALYSE, *flags.replace("{}", str(folder)).split(" ")] for flags in ERRORS]
    for call, expected, finished in zip(calls, ERRORS.values(), run_programs(calls), strict=True):
        assert finished.code == 2 and finished.out == "", (call, finished)
        assert len(finished.messages) == 1 and finished.messages[0].startswith("error: "), (call, finished)
        assert expected in finished.messages[0], (call, finished)
    assert snapshot(folder) == before

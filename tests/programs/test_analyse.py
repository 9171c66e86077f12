"""`cml_tf.analyse` from working directories to tables, pictures and an index, and one line for every mistake."""

import csv
import json
import math

import pytest
from PIL import Image

from cml_tf.studies.analyses.figures import ANALYSES
from tests.helpers.programs import run_programs
from tests.helpers.run_folders import snapshot

# tests/studies/analyses look at the same functions in this process.
pytestmark = [pytest.mark.slow, pytest.mark.long]

TRAIN, ANALYSE = "cml_tf.train", "cml_tf.analyse"
WAVES = "--config=configs/sinusoid.py:cml,5shot,smoke"
SMALL = ["--config.learner.hidden=(6,4)", "--config.train.steps=2", "--config.train.meta_batch=1", "--verbose=0"]
SEED_1 = ["--config.seed=1", "--config.eval.seed=1"]
RUNS = {
    "cml": [WAVES],
    "maml": [WAVES.replace("cml", "maml")],
    "cml_seed_1": [WAVES, *SEED_1],
    "maml_seed_1": [WAVES.replace("cml", "maml"), *SEED_1],
    "other_data": [WAVES, "--config.dataset.shots=4"],
    "glyphs": ["--config=configs/glyphs.py:smoke,mlp", "--config.dataset.ways=3"],
}
# Flags, {} for the folder, and what the error names.
ERRORS = {
    "--workdirs={}/cml": "--output",
    "--workdirs={}/cml --output={}/file": "must be a directory",
    "--workdirs={}/cml --output={}/new --analyses=tsne": "'tsne'",
    "--workdirs={}/cml,{}/nowhere --output={}/new": "contains no run",
    "--workdirs={}/cml,{}/cml --output={}/new": "received seed 0 twice for 'cml'",
    "--workdirs={}/cml,{}/cml_seed_1,{}/maml --names=CML,CML,MAML --output={}/new": "the same seeds of each method",
    "--workdirs={}/cml --output={}/new --episodes=1": "episodes",
    "--workdirs={}/cml,{}/other_data --output={}/new": "the same test episodes",
    "--workdirs={}/maml --output={}/new --analyses=gradient_cosine": "it has no co-learner",
}


def test_runs_become_tables_pictures_and_an_index(tmp_path):
    calls = [[TRAIN, *flags, *SMALL, f"--workdir={tmp_path / name}"] for name, flags in RUNS.items()]
    assert [(finished.code, finished.messages) for finished in run_programs(calls)] == [(0, [])] * len(RUNS)
    (tmp_path / "file").write_text("years of work")
    before = snapshot(tmp_path)
    seeds = ",".join(f"{tmp_path}/{name}" for name in ("maml", "maml_seed_1", "cml", "cml_seed_1"))
    waves = [f"--workdirs={seeds}", "--names=MAML,MAML,CML,CML", "--episodes=5"]
    good = [
        [f"--workdirs={tmp_path}/glyphs", "--names=ours", "--checkpoint=latest", f"--output={tmp_path}/out/glyphs"],
        [*waves, f"--output={tmp_path}/out/waves"],
        [*waves, f"--output={tmp_path}/out/again", "--analyses=linear_cka"],
    ]
    bad = [flags.replace("{}", str(tmp_path)).split(" ") for flags in ERRORS]
    glyphs, *others = run_programs([[ANALYSE, *flags] for flags in (*good, *bad)])
    for finished in (glyphs, *others[:2]):
        assert (finished.code, finished.messages) == (0, []), finished
    for finished, message in zip(others[2:], ERRORS.values(), strict=True):
        assert finished.code == 2 and finished.out == "" and len(finished.messages) == 1, finished
        assert finished.messages[0].startswith("error: ") and message in finished.messages[0], finished
    after = {name: content for name, content in snapshot(tmp_path).items() if not name.startswith("out/")}
    assert after == before, "the runs were changed"

    folder = tmp_path / "out/glyphs"
    index = json.loads((folder / "index.json").read_text())
    assert [entry["name"] for entry in index["analyses"]] == [analysis.name for analysis in ANALYSES]
    assert [entry["figure"] for entry in index["analyses"]] == ["3a", "3b", "3c", "3d", "4", "-"]
    assert (index["episodes"], index["checkpoint"], index["runs"][0]["step"]) == (4, "latest", 2)
    assert "ours, seed 0: checkpoint after 2 of 2 outer steps" in glyphs.out
    for entry in index["analyses"]:
        assert entry["title"] and entry["caption"] and entry["left_out"] == {}
        assert Image.open(folder / entry["files"]["png"]).width > 500
        assert "</svg>" in (folder / entry["files"]["svg"]).read_text()
    files = {file for entry in index["analyses"] for file in entry["files"].values()}
    assert {path.name for path in folder.iterdir()} == {"index.json", *files}
    lines = [json.loads(line) for line in (tmp_path / "glyphs/metrics.jsonl").read_text().splitlines()]
    for row, line in zip(rows_of(folder / "accuracy_curves.csv"), lines, strict=True):
        assert (row["run"], row["split"], int(row["step"])) == ("ours", line["split"], line["step"])
        assert float(row["accuracy"]) == pytest.approx(line["accuracy"], rel=1e-6)
    points = rows_of(folder / "query_features_tsne.csv")
    assert len(points) == 2 * 9 and all(math.isfinite(float(row[axis])) for row in points for axis in "xy")

    folder = tmp_path / "out/waves"
    entries = {entry["name"]: entry for entry in json.loads((folder / "index.json").read_text())["analyses"]}
    assert set(entries["gradient_cosine"]["left_out"]) == {"MAML"} and "skipped MAML" in others[0].out
    assert entries["query_features_tsne"]["left_out"] and entries["query_features_tsne"]["files"] == {}
    assert "interval over seeds" in entries["linear_cka"]["caption"]
    rows = rows_of(folder / "linear_cka.csv")
    assert rows_of(tmp_path / "out/again/linear_cka.csv") == rows, "the same command gives the same numbers"
    assert [(row["run"], row["seed"]) for row in rows if row["layer"] == "dense 1"] == [
        (name, seed) for name in ("MAML", "CML") for seed in ("0", "1", "all")
    ]
    assert all(-1 <= float(row["mean"]) <= 1 and float(row["ci95"]) >= 0 for row in rows)


def rows_of(path):
    return list(csv.DictReader(path.open()))

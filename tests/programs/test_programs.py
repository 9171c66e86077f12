"""The programs: what they print, their exit codes, and one line for every mistake a user can make."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from tests.helpers.drawn_images import drawings, write_zip
from tests.helpers.programs import run_program, run_programs
from tests.helpers.run_folders import snapshot

TRAIN, EVALUATE, PREPARE = "cml_tf.train", "cml_tf.evaluate", "cml_tf.datasets.prepare"
WAVES = "--config=configs/sinusoid.py:{},5shot,smoke{}"
GLYPHS = "--config=configs/glyphs.py:cml,smoke"
SMALL = ["--config.learner.hidden=(4,)", "--config.train.steps=2", "--config.train.meta_batch=1", "--verbose=0"]
SUMMARY = {"metric", "mean", "ci95", "episodes", "seed", "manifest_hash"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Finished runs: cml, maml, other_data, cl, and glyphs (with an MLP, which compiles quickly)."""
    folder = tmp_path_factory.mktemp("programs")
    glyphs = ["--config.learner.name=mlp", "--config.dataset.ways=3"]
    runs = {
        "cml": [WAVES.format("cml", "")],
        "maml": [WAVES.format("maml", "")],
        "other_data": [WAVES.format("maml", ""), "--config.dataset.shots=4"],
        "cl": [WAVES.format("cml", ",cl")],
        "glyphs": [GLYPHS, *glyphs],
    }
    calls = [[TRAIN, *flags, *SMALL, f"--workdir={folder / name}"] for name, flags in runs.items()]
    for name, finished in zip(runs, run_programs(calls), strict=True):
        assert (finished.code, finished.messages) == (0, []), (name, finished)
    damaged = shutil.copytree(folder / "cml", folder / "damaged")
    for path in (damaged / "checkpoints").iterdir():
        path.write_bytes(path.read_bytes()[:1000])
    (folder / "foreign").mkdir()
    (folder / "foreign" / "thesis.txt").write_text("years of work")
    (folder / "wrong_type.py").write_text("def get_config():\n    return {'seed': 0}\n")
    (folder / "foreign_keys.py").write_text(
        "from ml_collections import ConfigDict\n\n\ndef get_config():\n    return ConfigDict({'learning_rate': 0.1})\n"
    )
    (folder / "broken.py").write_text("def get_config(:\n")
    (folder / "omniglot").mkdir()
    write_zip(folder / "omniglot" / "images_background.zip", drawings({"Braille": 3, "Hebrew": 3}, count=4))
    write_zip(folder / "omniglot" / "images_evaluation.zip", drawings({"Tengwar": 3}, count=4))
    (folder / "raising.py").write_text("import a_module_that_nobody_has\n")
    (folder / "empty.py").write_text("")
    return folder


TRAIN_ERRORS = {
    "no configuration": (["--workdir={}/new"], "--config"),
    "no working directory": ([WAVES.format("cml", "")], "--workdir"),
    "an unknown flag": ([WAVES.format("cml", ""), "--workdir={}/new", "--gamma=1"], "gamma"),
    "an argument that is no flag": ([WAVES.format("cml", ""), "--workdir={}/new", "fast"], "'fast'"),
    "a flag out of range": ([WAVES.format("cml", ""), "--workdir={}/new", "--verbose=9"], "verbose"),
    "an unknown key": ([WAVES.format("cml", ""), "--workdir={}/new", "--config.train.stepz=5"], "stepz"),
    "an unknown section": ([WAVES.format("cml", ""), "--workdir={}/new", "--config.training.steps=5"], "training"),
    "a word for a number": ([WAVES.format("cml", ""), "--workdir={}/new", "--config.train.steps=many"], "steps"),
    "a fraction of a step": ([WAVES.format("cml", ""), "--workdir={}/new", "--config.train.steps=2.5"], "steps"),
    "a section for a key": ([WAVES.format("cml", ""), "--workdir={}/new", "--config.train=5"], "train"),
    "no steps": ([WAVES.format("cml", ""), "--workdir={}/new", "--config.train.steps=0"], "train.steps"),
    "a rate that is none": ([WAVES.format("cml", ""), "--workdir={}/new", "--config.train.rate=nan"], "train.rate"),
    "an endless rate": ([WAVES.format("cml", ""), "--workdir={}/new", "--config.adaptation.rate=inf"], "finite"),
    "a negative seed": ([WAVES.format("cml", ""), "--workdir={}/new", "--config.seed=-1"], "seed"),
    "an unknown dataset": ([WAVES.format("cml", ""), "--workdir={}/new", "--config.dataset.name=mnist"], "'mnist'"),
    "an unknown dtype": (
        [WAVES.format("cml", ""), "--workdir={}/new", "--config.learner.dtype_policy=int8"],
        "'int8'",
    ),
    "images for a regressor": ([WAVES.format("cml", ""), "--workdir={}/new", "--config.learner.name=conv4"], "conv4"),
    "no hidden layer": ([WAVES.format("cml", ""), "--workdir={}/new", "--config.learner.hidden=()"], "hidden"),
    "a missing file": (["--config=configs/nothing.py", "--workdir={}/new"], "nothing.py"),
    "a file with a mistake": (["--config={}/broken.py", "--workdir={}/new"], "broken.py"),
    "a file that raises": (["--config={}/raising.py", "--workdir={}/new"], "a_module_that_nobody_has"),
    "a file without get_config": (["--config={}/empty.py", "--workdir={}/new"], "get_config"),
    "a file that gives something else": (["--config={}/wrong_type.py", "--workdir={}/new"], "ConfigDict"),
    "a file with keys of its own": (["--config={}/foreign_keys.py", "--workdir={}/new"], "default_config()"),
    "an unknown argument": (["--config=configs/sinusoid.py:tiny", "--workdir={}/new"], "'tiny'"),
    "two methods": (
        ["--config=configs/cora.py:maml,cml", "--workdir={}/new"],
        "error: the arguments of cora are maml or cml, N",
    ),
    "ways of waves": (["--config=configs/sinusoid.py:5way", "--workdir={}/new"], "are maml or cml, Nshot, and"),
    "more ways than classes": ([GLYPHS, "--workdir={}/new", "--config.dataset.ways=500"], "ways must be at most"),
    "more examples than there are": ([GLYPHS, "--workdir={}/new", "--config.dataset.shots=22"], "shots + queries"),
    "a root for data without files": ([GLYPHS, "--workdir={}/new", "--config.dataset.root=/nowhere"], "/nowhere"),
    "a missing root": (
        ["--config=configs/omniglot.py:smoke", "--workdir={}/new", "--config.dataset.root={}/nowhere"],
        "nowhere",
    ),
    "no root": ([GLYPHS, "--workdir={}/new", "--config.dataset.name=image_folder"], "root"),
    "a foreign directory": ([WAVES.format("cml", ""), *SMALL, "--workdir={}/foreign"], "holds no run"),
    "a file for a directory": ([WAVES.format("cml", ""), *SMALL, "--workdir={}/foreign/thesis.txt"], "a directory"),
    "another configuration": ([WAVES.format("maml", ""), *SMALL, "--workdir={}/cml"], "objective.terms"),
    "fewer steps": ([WAVES.format("cml", ""), *SMALL, "--config.train.steps=1", "--workdir={}/cml"], "train.steps"),
    "a damaged checkpoint": (
        [WAVES.format("cml", ""), *SMALL, "--config.train.steps=3", "--workdir={}/damaged"],
        "damaged",
    ),
    "a rate that explodes": (
        [WAVES.format("cml", ""), *SMALL, "--config.train.rate=1e30", "--workdir={}/exploding"],
        "step 1 has a loss that is not finite",
    ),
}

EVALUATE_ERRORS = {
    "no working directory": ([], "--workdir"),
    "an unknown flag": (["--workdir={}/cml", "--shots=3"], "shots"),
    "an argument that is no flag": (["--workdir={}/cml", "test"], "'test'"),
    "an unknown split": (["--workdir={}/cml", "--split=tset"], "tset"),
    "an unknown readout": (["--workdir={}/cml", "--readout=phi"], "phi"),
    "one episode": (["--workdir={}/cml", "--episodes=1"], "episodes"),
    "negative steps": (["--workdir={}/cml", "--steps=-1"], "steps"),
    "no run": (["--workdir={}/nowhere"], "holds no run"),
    "a foreign directory": (["--workdir={}/foreign"], "holds no run"),
    "a damaged checkpoint": (["--workdir={}/damaged"], "damaged"),
    "a readout without co-learner": (["--workdir={}/maml", "--readout=co_learner"], "without a co-learner"),
    "the released readout without co-learner": (
        ["--workdir={}/maml", "--readout=co_learner_theta_adapted"],
        "without a co-learner",
    ),
    "a comparison on other episodes": (["--workdir={}/cml", "--compare={}/other_data"], "the same episodes"),
    "a comparison on other data": (["--workdir={}/cml", "--compare={}/glyphs"], "the same episodes"),
    "another dataset for a regressor": (["--workdir={}/cml", "--dataset=glyphs"], "where both have images"),
    "another dataset that there is not": (["--workdir={}/glyphs", "--dataset=mnist"], "received 'glyphs' and 'mnist'"),
    "another dataset that is not there": (
        ["--workdir={}/glyphs", "--dataset=cub", "--root={}/nowhere"],
        "nowhere is none",
    ),
    "a root without its dataset": (["--workdir={}/glyphs", "--root={}/nowhere"], "must be named too"),
    "a comparison with nothing": (["--workdir={}/cml", "--compare={}/nowhere"], "holds no run"),
}


PREPARE_ERRORS = {
    "no benchmark": ([], "NAME must be one of aircraft, cars, "),
    "an unknown benchmark": (["mnist"], "received 'mnist'"),
    "two benchmarks": (["cub", "cars"], "unexpected argument 'cars'"),
    "an unknown flag": (["cub", "--shots=3"], "shots"),
}


def check_errors(folder, *tables):
    before = snapshot(folder)
    errors = {(module, name): error for module, table in tables for name, error in table.items()}
    calls = [
        [module, *(flag.replace("{}", str(folder)) for flag in flags)] for (module, _), (flags, _) in errors.items()
    ]
    for (name, (_, expected)), finished in zip(errors.items(), run_programs(calls), strict=True):
        assert finished.code == 2, (name, finished)
        assert len(finished.messages) == 1 and finished.messages[0].startswith("error: "), (name, finished)
        assert expected in finished.messages[0], (name, finished)
        assert finished.out == "", (name, finished)
    assert not (folder / "new").exists()
    shutil.rmtree(folder / "exploding", ignore_errors=True)
    assert snapshot(folder) == before


def test_mistakes_in_training_are_one_line_and_write_nothing(folder):
    check_errors(folder, (TRAIN, TRAIN_ERRORS))


def test_mistakes_in_evaluation_and_preparation_are_one_line_and_write_nothing(folder):
    check_errors(folder, (EVALUATE, EVALUATE_ERRORS), (PREPARE, PREPARE_ERRORS))


def test_mistakes_in_real_processes(folder):
    """The table above forks its processes; these are started as a user starts them."""
    for module, flags, expected in (
        (TRAIN, [WAVES.format("cml", ""), f"--workdir={folder / 'new'}", "--config.train.stepz=5"], "stepz"),
        (EVALUATE, [f"--workdir={folder / 'foreign'}"], "holds no run"),
    ):
        finished = run_program(module, *flags)
        assert finished.code == 2
        (message,) = finished.messages
        assert message.startswith("error: ") and expected in message


def test_a_finished_run_exits_with_0_and_changes_nothing(folder):
    before = snapshot(folder / "cml")
    finished = run_program(TRAIN, WAVES.format("cml", ""), *SMALL, f"--workdir={folder / 'cml'}")
    assert (finished.code, finished.out, finished.messages) == (0, "", [])
    assert snapshot(folder / "cml") == before


@pytest.fixture(scope="module")
def evaluations(folder):
    """Many evaluations, all forked from one process."""
    cml = f"--workdir={folder / 'cml'}"
    calls = {
        "plain": [cml],
        "again": [cml],
        "more episodes": [cml, "--episodes=6"],
        "no steps": [cml, "--steps=0"],
        "five steps": [cml, "--steps=5"],
        "validation": [cml, "--split=validation"],
        "latest": [cml, "--checkpoint=latest"],
        "compare": [cml, f"--compare={folder / 'maml'}"],
        "compared": [f"--workdir={folder / 'maml'}"],
        "with itself": [cml, f"--compare={folder / 'cml'}"],
        "co_learner": [cml, "--readout=co_learner"],
        "co_learner_theta_adapted": [cml, "--readout=co_learner_theta_adapted"],
        "cl": [f"--workdir={folder / 'cl'}"],
        "cl co_learner": [f"--workdir={folder / 'cl'}", "--readout=co_learner"],
        "cl co_learner_theta_adapted": [f"--workdir={folder / 'cl'}", "--readout=co_learner_theta_adapted"],
        "glyphs": [f"--workdir={folder / 'glyphs'}"],
        "omniglot": [f"--workdir={folder / 'glyphs'}", "--dataset=omniglot", f"--root={folder / 'omniglot'}"],
    }
    before = snapshot(folder)
    results = dict(zip(calls, run_programs([[EVALUATE, *flags] for flags in calls.values()]), strict=True))
    for name, finished in results.items():
        assert (finished.code, finished.messages) == (0, []), (name, finished)
    assert snapshot(folder) == before, "evaluation wrote something"
    return {name: (finished.last_json, finished.out) for name, finished in results.items()}


def test_the_last_line_is_one_json_object(evaluations):
    summary, out = evaluations["plain"]
    assert set(summary) == SUMMARY | {"split", "readout", "single_queries"}
    assert (summary["metric"], summary["episodes"], summary["seed"]) == ("mse", 4, 0)
    assert (summary["split"], summary["readout"]) == ("test", "learner")
    assert summary["mean"] > 0 and summary["ci95"] > 0 and len(summary["manifest_hash"]) == 64
    table = out[: out.rindex("{")]
    assert f"{summary['mean']:.4f}" in table and f"± {summary['ci95']:.4f}" in table
    glyphs, _ = evaluations["glyphs"]
    assert glyphs["metric"] == "accuracy" and 0 <= glyphs["mean"] <= 1
    other, out = evaluations["omniglot"]
    assert set(other) == set(glyphs) | {"dataset"} and other["dataset"] == "omniglot"
    assert other["manifest_hash"] != glyphs["manifest_hash"] and "test of omniglot, 4 episodes" in out


def test_evaluation_gives_the_same_numbers_twice(evaluations):
    assert evaluations["plain"] == evaluations["again"]


def test_flags_change_what_they_say(evaluations):
    plain, more = evaluations["plain"][0], evaluations["more episodes"][0]
    assert more["episodes"] == 6 and more["manifest_hash"] != plain["manifest_hash"]
    none, five = evaluations["no steps"][0], evaluations["five steps"][0]
    assert len({none["mean"], plain["mean"], five["mean"]}) == 3
    assert none["manifest_hash"] == plain["manifest_hash"] == five["manifest_hash"]
    validation = evaluations["validation"][0]
    assert validation["split"] == "validation" and validation["manifest_hash"] != plain["manifest_hash"]
    assert evaluations["latest"][0]["manifest_hash"] == plain["manifest_hash"]


def test_readouts_are_three_different_answers(evaluations):
    for prefix, learner in (("", "plain"), ("cl ", "cl")):
        summaries = [
            evaluations[name][0] for name in (learner, f"{prefix}co_learner", f"{prefix}co_learner_theta_adapted")
        ]
        assert [summary["readout"] for summary in summaries] == ["learner", "co_learner", "co_learner_theta_adapted"]
        assert len({summary["mean"] for summary in summaries}) == 3
        assert len({summary["manifest_hash"] for summary in summaries}) == 1


def test_comparison_gives_the_paired_difference(evaluations):
    summary, out = evaluations["compare"]
    first, second = evaluations["plain"][0], evaluations["compared"][0]
    assert {name: summary[name] for name in SUMMARY} == {name: first[name] for name in SUMMARY}
    assert summary["compared"] == {name: second[name] for name in SUMMARY}
    difference = summary["difference"]
    assert set(difference) == {"mean", "ci95", "episodes"} and difference["episodes"] == 4
    assert difference["mean"] == pytest.approx(first["mean"] - second["mean"], abs=1e-6)
    assert difference["ci95"] > 0
    assert f"{difference['mean']:+.4f}" in out
    assert evaluations["with itself"][0]["difference"] == {"mean": 0.0, "ci95": 0.0, "episodes": 4}


def test_metrics_of_a_run_are_json_lines(folder):
    for name in ("cml", "glyphs"):
        lines = [json.loads(line) for line in (folder / name / "metrics.jsonl").read_text().splitlines()]
        metric = "accuracy" if name == "glyphs" else "mse"
        names = {"step", "split", "loss", metric, "co_loss", f"co_{metric}"}
        assert [set(line) for line in lines] == [names | {"tasks_per_second"}, names]
        assert all(np.isfinite(line[key]) for line in lines for key in names - {"split"})

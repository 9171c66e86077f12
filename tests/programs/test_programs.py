"""The programs: what they print, their exit codes, and one line for every mistake a user can make."""

import json
import shutil

import numpy as np
import pytest

from tests.helpers.programs import run_program, run_programs
from tests.helpers.run_folders import snapshot

pytestmark = pytest.mark.slow

TRAIN, EVALUATE, PREPARE = "cml_tf.train", "cml_tf.evaluate", "cml_tf.datasets.prepare"
CALIBRATE = "cml_tf.calibrate"
WAVES, GLYPHS = "--config=configs/sinusoid.py:cml,5shot,smoke", "--config=configs/glyphs.py:cml,smoke"
SMALL = ["--config.learner.hidden=(4,)", "--config.train.steps=2", "--config.train.meta_batch=1", "--verbose=0"]
SUMMARY = {"metric", "mean", "ci95", "episodes", "seed", "manifest_hash"}
# Of a regression.
NORMALISED = {"nrmse", "nrmse_ci95"}
FILES = {
    "foreign/thesis.txt": "years of work",
    "wrong_type.py": "def get_config():\n    return {'seed': 0}\n",
    "broken.py": "def get_config(:\n",
    "raising.py": "import a_module_that_nobody_has\n",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Finished runs: cml, maml, other_data, and glyphs (with an MLP, which compiles quickly)."""
    folder = tmp_path_factory.mktemp("programs")
    maml = WAVES.replace("cml", "maml")
    runs = {
        "cml": [WAVES],
        "maml": [maml],
        "other_data": [maml, "--config.dataset.shots=4"],
        "glyphs": [f"{GLYPHS},mlp", "--config.dataset.ways=3"],
    }
    calls = [[TRAIN, *flags, *SMALL, f"--workdir={folder / name}"] for name, flags in runs.items()]
    for name, finished in zip(runs, run_programs(calls), strict=True):
        assert (finished.code, finished.messages) == (0, []), (name, finished)
    damaged = shutil.copytree(folder / "cml", folder / "damaged")
    for path in (damaged / "checkpoints").iterdir():
        path.write_bytes(path.read_bytes()[:1000])
    for name, text in FILES.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    return folder


# Flags, and what the error names. Waves in a new directory, where the flags name nothing else.
TRAIN_ERRORS = {
    "--gamma=1": "gamma",
    "fast": "'fast'",
    "--verbose=9": "verbose",
    "--worker_wait=5": "--worker_wait is for --strategy=multi_worker",
    "--cpu_devices=2": "--cpu_devices must be 1",
    "--config.dataset.root=s3://b/c": "--config.dataset.root must be a path on a disk, received 's3://b/c'",
    "--strategy=multi_worker": "TF_CONFIG must be JSON",
    "--config.train.stepz=5": "error: the configuration cannot be read: it has no key 'stepz'. Did you mean",
    "--config.train.steps=many": "steps",
    "--config.train.rate=nan": "train.rate",
    "--workdir=": "--workdir",
    "--config=": "--config",
    "--config=configs/nothing.py": "nothing.py",
    "--config={}/broken.py": "broken.py",
    "--config={}/raising.py": "a_module_that_nobody_has",
    "--config={}/wrong_type.py": "ConfigDict",
    "--config=configs/sinusoid.py:tiny": "'tiny'",
    # With a blank, and by a name of before.
    "--config= --config configs/sinusoid_10shot_maml.py:tiny": "'tiny'",
    f"{GLYPHS} --config.dataset.ways=500": "ways",
    f"{GLYPHS} --config.dataset.root=/nowhere": "/nowhere",
    "--config=configs/image_folder.py:smoke": "root",
    "--workdir={}/foreign": "contains no run",
    f"{WAVES.replace('cml', 'maml')} {' '.join(SMALL)} --workdir={{}}/cml": "objective.terms",
    f"{' '.join(SMALL)} --config.train.steps=1 --workdir={{}}/cml": "train.steps",
    f"{' '.join(SMALL)} --config.train.steps=3 --workdir={{}}/damaged": "damaged",
    f"{' '.join(SMALL)} --config.train.rate=1e30 --workdir={{}}/exploding": "step 1 has a loss that is not finite",
}
# The same for the run cml.
EVALUATE_ERRORS = {
    "--workdir=": "--workdir",
    "test": "'test'",
    "--readout=phi": "phi",
    "--episodes=1": "episodes",
    "--steps=-1": "steps",
    "--workdir={}/nowhere": "error: {}/nowhere contains no run",
    "--workdir={}/maml --readout=co_learner_theta_adapted": "without a co-learner",
    "--compare={}/other_data": "the same episodes",
    "--compare={}/nowhere": "contains no run",
    "--dataset=glyphs": "if that is one of sinusoid, shifted_sinusoid, cosmixture, alpine, received 'glyphs'",
    "--workdir={}/glyphs --dataset=cub --root={}/nowhere": "nowhere",
    "--workdir={}/glyphs --root={}/nowhere": "name the dataset too",
}
CALIBRATE_ERRORS = {
    "--workdir={}/nowhere": "contains no run",
    "--workdir={}/cml": "is a regression",
    "--shots=one": "received 'one'",
    "--shots=0": "received [0]",
    "--ways=2 --open_set=none": "ways must be 3 for this model",
    "--coverage=1": "coverage must be between 0 and 1",
    "--episodes=3": "episodes",
    "--calibration=hope": "hope",
    "--open_set=none --false_accept=0.1": "--false_accept has no effect with --open_set=none",
    "--open_set=none --unknown_classes=2": "--unknown_classes has no effect with --open_set=none",
}
PREPARE_ERRORS = {
    "": "aircraft, cars, ",
    "mnist": "received 'mnist'",
    "cub cars": "unexpected argument 'cars'",
}
ERRORS = {
    TRAIN: ({"--config=": WAVES, "--workdir=": "--workdir={}/new"}, TRAIN_ERRORS),
    EVALUATE: ({"--workdir=": "--workdir={}/cml"}, EVALUATE_ERRORS),
    CALIBRATE: ({"--workdir=": "--workdir={}/glyphs"}, CALIBRATE_ERRORS),
    PREPARE: ({}, PREPARE_ERRORS),
}


def mistake(folder, usual, flags):
    """The words of a call: with usual flags unless they are given; given empty, they are left out."""
    words = flags.split(" ") if flags else []
    more = [value for name, value in usual.items() if not any(word.startswith(name) for word in words)]
    return [word.replace("{}", str(folder)) for word in (*more, *words) if word not in usual]


def test_mistakes_are_one_line_and_write_nothing(folder):
    before, calls, messages = snapshot(folder), [], []
    for program, (usual, table) in ERRORS.items():
        calls += [[program, *mistake(folder, usual, flags)] for flags in table]
        messages += [message.replace("{}", str(folder)) for message in table.values()]
    for call, expected, finished in zip(calls, messages, run_programs(calls), strict=True):
        assert finished.code == 2, (call, finished)
        assert len(finished.messages) == 1 and finished.messages[0].startswith("error: "), (call, finished)
        assert expected in finished.messages[0] and finished.out == "", (call, finished)
    assert not (folder / "new").exists()
    shutil.rmtree(folder / "exploding", ignore_errors=True)
    # Not forked, but as a user starts it.
    finished = run_program(TRAIN, WAVES, *SMALL, f"--workdir={folder / 'cml'}")
    assert (finished.code, finished.out, finished.messages) == (0, "", [])
    assert snapshot(folder) == before, "a finished run was changed"


@pytest.fixture(scope="module")
def evaluations(folder):
    calls = {
        "plain": "cml",
        "more episodes": "cml --episodes=6",
        "no steps": "cml --steps=0",
        "validation": "cml --split=validation --checkpoint=latest",
        "compare": "cml --compare={}/maml",
        "co_learner": "cml --readout=co_learner",
        "co_learner_theta_adapted": "cml --readout=co_learner_theta_adapted",
        "compared": "maml",
        "glyphs": "glyphs",
    }
    before = snapshot(folder)
    words = [f"--workdir={{}}/{flags}".replace("{}", str(folder)).split(" ") for flags in calls.values()]
    results = dict(zip(calls, run_programs([[EVALUATE, *flags] for flags in words]), strict=True))
    for name, finished in results.items():
        assert (finished.code, finished.messages) == (0, []), (name, finished)
    assert snapshot(folder) == before, "evaluation wrote something"
    return {name: (finished.last_json, finished.out) for name, finished in results.items()}


def test_the_last_line_is_one_json_object(evaluations):
    summary, out = evaluations["plain"]
    assert set(summary) == SUMMARY | NORMALISED | {"split", "readout", "single_queries"}
    named = [summary[name] for name in ("metric", "episodes", "seed", "split", "readout")]
    assert named == ["mse", 4, 0, "test", "learner"]
    assert summary["mean"] > 0 and summary["ci95"] > 0 and len(summary["manifest_hash"]) == 64
    table = out[: out.rindex("{")]
    assert f"{summary['mean']:.4f}" in table and f"± {summary['ci95']:.4f}" in table
    assert f" {summary['nrmse']:.4f} " in table and summary["nrmse_ci95"] > 0
    glyphs, _ = evaluations["glyphs"]
    assert glyphs["metric"] == "accuracy" and 0 <= glyphs["mean"] <= 1 and not NORMALISED & set(glyphs)


def test_flags_change_what_they_say(evaluations):
    plain, more, none, validation, compare, *readouts = (summary for summary, _ in list(evaluations.values())[:7])
    assert more["episodes"] == 6 and more["manifest_hash"] != plain["manifest_hash"]
    assert none["mean"] != plain["mean"] and none["manifest_hash"] == plain["manifest_hash"]
    assert validation["split"] == "validation" and validation["manifest_hash"] != plain["manifest_hash"]
    assert [summary["readout"] for summary in readouts] == ["co_learner", "co_learner_theta_adapted"]
    assert len({summary["mean"] for summary in (plain, *readouts)}) == 3
    assert len({summary["manifest_hash"] for summary in (plain, *readouts)}) == 1
    # A comparison gives the paired difference and the same numbers again.
    out, second = evaluations["compare"][1], evaluations["compared"][0]
    told = SUMMARY | NORMALISED
    assert {name: compare[name] for name in told} == {name: plain[name] for name in told}
    assert compare["compared"] == {name: second[name] for name in told}
    difference = compare["difference"]
    assert set(difference) == {"mean", "ci95", "episodes"} | NORMALISED and difference["episodes"] == 4
    assert difference["nrmse"] == pytest.approx(plain["nrmse"] - second["nrmse"], abs=1e-6)
    assert difference["mean"] == pytest.approx(plain["mean"] - second["mean"], abs=1e-6)
    assert difference["ci95"] > 0 and f"{difference['mean']:+.4f}" in out


def test_metrics_of_a_run_are_json_lines(folder):
    for name, metric in (("cml", "mse"), ("glyphs", "accuracy")):
        lines = [json.loads(line) for line in (folder / name / "metrics.jsonl").read_text().splitlines()]
        names = {"step", "split", "loss", metric, "co_loss", f"co_{metric}"}
        assert [set(line) for line in lines] == [names | {"tasks_per_second"}, names]
        assert all(np.isfinite(line[key]) for line in lines for key in names - {"split"})

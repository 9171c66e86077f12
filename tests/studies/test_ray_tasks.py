"""A sweep as Ray tasks: a worker may be killed, and the results are those of the local engine."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cml_tf.studies.results import read_results
from tests.helpers.programs import ROOT, environment, run_programs

RAY = importlib.util.find_spec("ray") is not None
SOURCE = "configs/sinusoid.py:cml,5shot,smoke"


def flags(folder, name):
    given = {"spec": folder / "sweep.json", "workdir": folder / name, "results": folder / f"{name}.jsonl"}
    return [f"--{flag}={value}" for flag, value in given.items()]


def sweep(folder, steps):
    overrides = {"train.steps": steps, "train.validate_every": 10, "learner.hidden": [4]}
    spec = {"configs": [SOURCE], "seeds": [0, 1], "overrides": overrides}
    (folder / "sweep.json").write_text(json.dumps(spec))


def test_an_engine_that_cannot_be_had_is_one_line(tmp_path):
    sweep(tmp_path, 10)
    calls = [["cml_tf.sweep", *flags(tmp_path, "runs"), f"--engine={name}"] for name in ("dask", "local", "ray", "ray")]
    calls[1].append("--gpus=1")
    calls[2].append("--processes=2")
    wrong, local, ray, missing = run_programs(calls if not RAY else [*calls[:3], calls[0]])
    assert wrong.code == 2 and "--engine must be one of local, ray" in wrong.messages[-1]
    for idle, name in ((local, "--gpus has no effect with --engine=local"), (ray, "--processes has no effect")):
        assert idle.code == 2 and name in idle.messages[-1]
    if not RAY:
        assert missing.code == 2 and "the package ray is not installed" in missing.messages[-1]


def process_of(run: str) -> tuple[int, int] | None:
    """Number of the process of a run whose worker is Ray's, and of that worker."""
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            words, status = (entry / "cmdline").read_bytes(), (entry / "status").read_text()
            parent = int(status.split("PPid:")[1].split()[0])
            if f"--run={run}".encode() in words and b"ray::" in Path(f"/proc/{parent}/cmdline").read_bytes():
                return int(entry.name), parent
        except (OSError, IndexError):
            continue
    return None


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.skipif(not RAY, reason="ray is not installed (make test-ray installs it)")
def test_a_killed_worker_is_replaced_and_the_results_are_those_of_the_local_engine(tmp_path):
    sweep(tmp_path, 400)
    (local,) = run_programs([["cml_tf.sweep", *flags(tmp_path, "local")]])
    assert local.code == 0, local
    command = [sys.executable, "-m", "cml_tf.sweep", *flags(tmp_path, "ray"), "--engine=ray"]
    with subprocess.Popen(command, cwd=ROOT, env=environment(), stdout=subprocess.PIPE, text=True) as driver:
        name = "sinusoid_5shot_cml-smoke-seed0"
        while not (tmp_path / "ray" / name / "checkpoints" / "latest.npz").exists():
            assert driver.poll() is None, driver.stdout.read()
            time.sleep(0.1)
        found = process_of(name)
        assert found is not None, "the run was over before its worker could be killed"
        os.kill(found[1], signal.SIGKILL)
        driver.stdout.read()
        assert driver.wait() == 0
    one, other = (read_results(tmp_path / f"{engine}.jsonl") for engine in ("local", "ray"))
    assert one.keys() == other.keys() and len(one) == 2
    for run in one:
        assert one[run]["scores"] == other[run]["scores"] and one[run]["config"] == other[run]["config"]
    # Two starts of the one that was killed, and one of the other.
    starts = {run: len(list((tmp_path / "ray" / run / "tensorboard" / "train").glob("events*"))) for run in one}
    assert starts == {name: 2, name.replace("seed0", "seed1"): 1}

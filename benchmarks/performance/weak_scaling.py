"""Twice the tasks on twice the processes: `python -m benchmarks.performance.weak_scaling [--config=FILE[:WORDS]]`.

Trains with a meta-batch for one process, with one for two, and twice with one for one at the same time: what the last
two lose is the machine's (memory, caches), what two lose beyond it is the exchange's. Each process has a core of its
own. The three alternate; prints medians over their repetitions as one JSON object.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from absl import flags

from benchmarks.reliability.loopback import tf_configs
from cml_tf.system.command_line import fail, run

_CONFIG = flags.DEFINE_string("config", "configs/glyphs.py:cml", "What is trained, as for cml_tf.train.")
_TASKS = flags.DEFINE_integer("tasks", 4, "Tasks of a process in a step.", 1)
_STEPS = flags.DEFINE_integer("steps", 40, "Outer steps between two readings of the clock.", 1)
_READINGS = flags.DEFINE_integer("readings", 3, "Readings of each training; the first is warm-up.", 2)
_REPETITIONS = flags.DEFINE_integer("repetitions", 3, "How often each of the three is trained.", 1)


def main(arguments: list[str]) -> None:
    """Trains, and prints what came of it."""
    del arguments
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        fail("two cores must be there, received one: measure on another machine.")
    seconds: dict[str, list[float]] = {"one process": [], "two at once": [], "two replicas": []}
    for _ in range(_REPETITIONS.value):
        seconds["one process"].append(step_seconds([""], cores))
        seconds["two at once"].append(step_seconds(["", ""], cores))
        seconds["two replicas"].append(step_seconds(tf_configs(2), cores))
    median = {name: statistics.median(found) for name, found in seconds.items()}
    told = {"config": _CONFIG.value, "tasks_of_a_process": _TASKS.value, "seconds_a_step": seconds}
    told["efficiency"] = round(median["one process"] / median["two replicas"], 3)
    told["efficiency_without_exchange"] = round(median["one process"] / median["two at once"], 3)
    print(json.dumps(told))


def step_seconds(clusters: list[str], cores: list[int]) -> float:
    """How long a step of the slowest of some processes takes.

    Args:
      clusters: TF_CONFIG of each; empty for one that trains alone.
      cores: one for each process.
    """
    with tempfile.TemporaryDirectory() as folder:
        # Replicas share a directory; the others have one each.
        workdirs = [Path(folder, "0" if cluster else str(index)) for index, cluster in enumerate(clusters)]
        started = [_start(*each) for each in zip(clusters, workdirs, cores, strict=False)]
        try:
            for process in started:
                if process.wait():
                    fail(f"a training ended with {process.returncode}: see what it printed.")
        finally:
            for process in started:
                process.kill()
        return max(_seconds(workdir, len(clusters) if clusters[0] else 1) for workdir in set(workdirs))


def _start(cluster: str, workdir: Path, core: int) -> subprocess.Popen:
    steps = _STEPS.value * _READINGS.value
    tasks = _TASKS.value * (len(json.loads(cluster)["cluster"]["worker"]) if cluster else 1)
    command = [f"--config={_CONFIG.value}", f"--config.train.steps={steps}", f"--config.train.meta_batch={tasks}"]
    command += [f"--config.train.validate_every={_STEPS.value}", "--config.train.validation_episodes=2"]
    command += [f"--workdir={workdir}", "--verbose=0", *(["--strategy=multi_worker"] if cluster else [])]
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "OMP_NUM_THREADS": "1"}
    environment |= {"TF_CONFIG": cluster} if cluster else {}
    process = subprocess.Popen([sys.executable, "-m", "cml_tf.train", *command], env=environment)
    # Before it has threads, which inherit it.
    os.sched_setaffinity(process.pid, {core})
    return process


def _seconds(workdir: Path, processes: int) -> float:
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    rates = [line["tasks_per_second"] for line in lines if line["split"] == "train"]
    return _TASKS.value * processes / statistics.median(rates[1:])


if __name__ == "__main__":
    run(main)

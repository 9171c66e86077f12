"""How long the first step takes: tracing, optimisation and the step itself, for every shipped configuration.

`python -m benchmarks.performance.first_step CONFIGURATION` measures one in this process and prints a JSON line.
"""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

from ml_collections import ConfigDict

from benchmarks.performance.building import build_episode
from benchmarks.performance.by_itself import cost
from benchmarks.performance.contestant import ROOT
from benchmarks.performance.results import Figure
from benchmarks.performance.work import Work
from cml_tf.experiments.configured_trainer import build_trainer
from cml_tf.problems import Classification, Problem, Regression

_LIMIT = 30.0


def first_steps(row: str) -> list[Figure]:
    """The longest first step over all configurations, and that of 32 tasks and 20 steps."""
    names = sorted(path.stem for path in (ROOT / "configs").glob("*.py"))
    seconds: dict[str, float] = {}
    for alike in groups((name, importlib.import_module(f"configs.{name}").get_config()) for name in names):
        command = [sys.executable, "-m", "benchmarks.performance.first_step", alike[0]]
        done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
        seconds |= dict.fromkeys(alike, json.loads(done.stdout.splitlines()[-1])["seconds"])
    slowest = max(seconds, key=lambda name: seconds[name])
    large = {h: cost(Work(tasks=32, steps=20, hypergradient=h), 1).first for h in ("reverse", "reverse_rematerialised")}
    return [
        Figure(row, "slowest configuration", seconds[slowest], "s", "under", _LIMIT, slowest, {"seconds": seconds}),
        *(Figure(row, f"32 tasks, 20 steps, {h}", s, "s", "under", _LIMIT, "28x28") for h, s in large.items()),
    ]


def groups(configurations: Iterable[tuple[str, ConfigDict]]) -> list[list[str]]:
    """Names of configurations whose graphs are the same: they differ in dataset, schedule and evaluation at most."""
    found: dict[str, list[str]] = {}
    for name, config in configurations:
        kind = "waves" if config.dataset.name == "sinusoid" else "images"
        shape = {key: config.dataset[key] for key in ("ways", "shots", "queries")}
        sections = {key: config[key].to_dict() for key in ("learner", "adaptation", "objective")}
        key = json.dumps([kind, shape, sections, config.hypergradient, config.train.meta_batch], sort_keys=True)
        found.setdefault(key, []).append(name)
    return list(found.values())


def measure(config: ConfigDict) -> float:
    """Seconds of the first step of a configuration; random episodes of its shapes stand for its dataset."""
    waves = config.dataset.name == "sinusoid"
    ways = 1 if waves else config.dataset.ways
    problem: Problem = Regression(1) if waves else Classification(ways)
    work = Work(
        learner=config.learner.name,
        tasks=config.train.meta_batch,
        ways=ways,
        shots=config.dataset.shots,
        queries=config.dataset.queries,
    )
    trainer = build_trainer(config, problem, (1,) if waves else (work.size, work.size, work.channels))
    episode = build_episode(work)
    start = time.perf_counter()
    trainer.meta_step(episode).finite.numpy()
    return time.perf_counter() - start


if __name__ == "__main__":
    print(json.dumps({"seconds": measure(importlib.import_module(f"configs.{Path(sys.argv[1]).stem}").get_config())}))

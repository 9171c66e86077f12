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
from typing import Any

from ml_collections import ConfigDict

from benchmarks.performance.building import build_episode
from benchmarks.performance.by_itself import cost
from benchmarks.performance.contestant import ROOT, ContestantError
from benchmarks.performance.results import Figure
from benchmarks.performance.work import Work
from cml_tf.datasets import graph_npz, planetoid
from cml_tf.datasets.benchmarks import BENCHMARKS
from cml_tf.experiments.combinations import EXAMPLES
from cml_tf.experiments.configured_trainer import build_trainer
from cml_tf.problems import Classification, Problem, Regression

_LIMIT = 30.0
# Size, undirected edges and share of features that are not 0, the latter two roughly: the first step hardly depends on
# them.
_GRAPHS = {
    "cora": (planetoid.SIZES["cora"], 5_300, 0.013),
    "citeseer": (planetoid.SIZES["citeseer"], 4_600, 0.009),
    "amazon_computer": (graph_npz.SIZES[graph_npz.AMAZON_COMPUTER], 246_000, 0.35),
    "cora_full": (graph_npz.SIZES[graph_npz.CORA_FULL], 63_000, 0.007),
}


def first_steps(row: str) -> list[Figure]:
    """The longest first step over all configurations; at 32 tasks and 20 steps, what it takes beside a later one."""
    names = sorted(path.stem for path in (ROOT / "configs").glob("*.py"))
    seconds: dict[str, float] = {}
    for alike in groups((name, importlib.import_module(f"configs.{name}").get_config()) for name in names):
        seconds |= dict.fromkeys(alike, first_step(alike[0]))
    slowest = max(seconds, key=lambda name: seconds[name])
    return [
        Figure(row, "slowest configuration", seconds[slowest], "s", "under", _LIMIT, slowest, {"seconds": seconds}),
        *(_large(row, hypergradient) for hypergradient in ("reverse", "reverse_rematerialised")),
    ]


def _large(row: str, hypergradient: str) -> Figure:
    # The step itself takes half a minute here: only what comes on top is tracing and optimisation.
    measured = cost(Work(tasks=32, steps=20, hypergradient=hypergradient), 1)
    note = f"28x28; first step {measured.first:.3g} s less a later one, {measured.seconds:.3g} s"
    name = f"32 tasks, 20 steps, {hypergradient}"
    return Figure(row, name, measured.first - measured.seconds, "s", "under", _LIMIT, note)


def first_step(name: str) -> float:
    """Seconds of the first step of a shipped configuration, in a process of its own.

    Raises:
      ContestantError: if that process fails; with the last line that it wrote.
    """
    command = [sys.executable, "-m", "benchmarks.performance.first_step", name]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        last = ([line for line in done.stderr.splitlines() if line.strip()] or ["(nothing)"])[-1]
        raise ContestantError(f"the first step of {name} ended with code {done.returncode}: {last}")
    return float(json.loads(done.stdout.splitlines()[-1])["seconds"])


def groups(configurations: Iterable[tuple[str, ConfigDict]]) -> list[list[str]]:
    """Names of configurations with graphs of the same operations, the one of the largest episodes first.

    They differ in schedule, evaluation, inner rate and numbers of examples at most, and in the dataset, except for
    images of other sizes, and for nodes: each dataset is a graph of its own size.
    """
    found: dict[str, list[tuple[int, str]]] = {}
    for name, config in configurations:
        kind = EXAMPLES[config.dataset.name]
        kind = config.dataset.name if kind == "nodes" else f"{kind} {image_like(config.dataset.name)}"
        examples = config.dataset.ways * (config.dataset.shots + config.dataset.queries)
        sections = {key: config[key].to_dict() for key in ("learner", "adaptation", "objective")}
        del sections["adaptation"]["rate"]
        key = json.dumps([kind, sections, config.hypergradient, config.train.meta_batch], sort_keys=True)
        found.setdefault(key, []).append((-examples, name))
    return [[name for _, name in sorted(alike, key=lambda one: one[0])] for alike in found.values()]


def measure(config: ConfigDict) -> float:
    """Seconds of the first step of a configuration; random episodes of its shapes stand for its dataset."""
    kind = EXAMPLES[config.dataset.name]
    waves = kind == "numbers"
    ways = 1 if waves else config.dataset.ways
    problem: Problem = Regression(1) if waves else Classification(ways)
    work = Work(
        **(graph_like(config.dataset.name) if kind == "nodes" else image_like(config.dataset.name)),
        learner=config.learner.name,
        tasks=config.train.meta_batch,
        ways=ways,
        shots=config.dataset.shots,
        queries=config.dataset.queries,
    )
    shape = {"numbers": (1,), "images": (work.size, work.size, work.channels), "nodes": ()}[kind]
    trainer = build_trainer(config, problem, shape, work.features)
    episode = build_episode(work)
    start = time.perf_counter()
    trainer.meta_step(episode).finite.numpy()
    return time.perf_counter() - start


def image_like(name: str) -> dict[str, Any]:
    """What a `Work` says of the images of a dataset; nothing for sets of another kind, and for 28x28x1."""
    if name not in BENCHMARKS:
        return {}
    return {"size": BENCHMARKS[name].image_size[0], "channels": 3}


def graph_like(name: str) -> dict[str, Any]:
    """What a `Work` says of a random graph of a dataset's size.

    Raises:
      ValueError: for a dataset whose size is not known.
    """
    if name not in _GRAPHS:
        raise ValueError(f"the graph must be one of {', '.join(_GRAPHS)}, received {name!r}.")
    size, edges, density = _GRAPHS[name]
    return {"nodes": size.nodes, "features": size.features, "edges": edges, "density": density}


if __name__ == "__main__":
    print(json.dumps({"seconds": measure(importlib.import_module(f"configs.{Path(sys.argv[1]).stem}").get_config())}))

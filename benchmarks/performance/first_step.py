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

from ml_collections import ConfigDict

from benchmarks.performance.by_itself import cost
from benchmarks.performance.configured import build_configured, image_like
from benchmarks.performance.contestant import ROOT, ContestantError
from benchmarks.performance.results import Figure
from benchmarks.performance.work import Work
from cml_tf.experiments.arguments import METHODS
from cml_tf.experiments.settings import EXAMPLES

_LIMIT = 30.0


def first_steps(row: str) -> list[Figure]:
    """The longest first step over all configurations; at 32 tasks and 20 steps, what it takes beside a later one."""
    seconds: dict[str, float] = {}
    for alike in groups((name, shipped(name)) for name in names()):
        seconds |= dict.fromkeys(alike, first_step(alike[0]))
    slowest = max(seconds, key=lambda name: seconds[name])
    return [
        Figure(row, "slowest configuration", seconds[slowest], "s", "under", _LIMIT, slowest, {"seconds": seconds}),
        *(_large(row, hypergradient) for hypergradient in ("reverse", "reverse_rematerialised")),
    ]


def names() -> list[str]:
    """Every shipped configuration, as `cora:maml,2way,1shot`: each file's cells with both methods.

    Those for data of one's own are left out, which have no sizes.
    """
    files = sorted({path.stem for path in (ROOT / "configs").glob("*.py")} - {"image_folder", "graph"})
    cells = {file: importlib.import_module(f"configs.{file}").CELLS for file in files}
    return [f"{file}:{method},{cell}" for file in files for cell in cells[file] for method in METHODS]


def shipped(name: str) -> ConfigDict:
    """The configuration of a name."""
    file, _, arguments = name.partition(":")
    config: ConfigDict = importlib.import_module(f"configs.{file}").get_config(arguments)
    return config


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
        examples = config.dataset.get("ways", 1) * (config.dataset.shots + config.dataset.queries)
        sections = {key: config[key].to_dict() for key in ("learner", "adaptation", "hypergradient", "objective")}
        del sections["adaptation"]["rate"]
        key = json.dumps([kind, sections, config.train.meta_batch], sort_keys=True)
        found.setdefault(key, []).append((-examples, name))
    return [[name for _, name in sorted(alike, key=lambda one: one[0])] for alike in found.values()]


def measure(config: ConfigDict) -> float:
    """Seconds of the first step of a configuration."""
    trainer, episode = build_configured(config)
    start = time.perf_counter()
    trainer.meta_step(episode).finite.numpy()
    return time.perf_counter() - start


if __name__ == "__main__":
    print(json.dumps({"seconds": measure(shipped(sys.argv[1]))}))

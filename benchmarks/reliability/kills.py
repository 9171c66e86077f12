"""Kills trainings at random moments: `python -m benchmarks.reliability.kills [--kills=120 --runs=6 --seed=0]`.

Each run is killed (SIGKILL) again and again, some times in the midst of a write, and then left to finish. It must end
as one that nobody disturbed: bit for bit the same weights, optimiser, counters and best checkpoint, the same lines of
metrics, and no file of a killed writer. Prints one JSON object; the exit code is 2 if any run differs.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags

from benchmarks.reliability.killed_training import KINDS, MOMENTS, Death, train
from cml_tf.experiments.stored import BEST, CHECKPOINTS, CONFIG, LATEST, MANIFEST, METRICS, earlier_checkpoints
from cml_tf.system.command_line import fail, run
from cml_tf.system.manifest import check_manifest
from cml_tf.training.checkpoints import read_checkpoint

_KILLS = flags.DEFINE_integer("kills", 120, "How often trainings are killed, in all.", 1)
_RUNS = flags.DEFINE_integer("runs", 6, "How many runs of each kind share them.", 1)
_SEED = flags.DEFINE_integer("seed", 0, "Of the moments.", 0)
_KINDS = flags.DEFINE_multi_enum("kind", list(KINDS), list(KINDS), "What is trained.")
_IN_WRITES = 0.5
"""Share of kills that are inside a write."""


def main(arguments: list[str]) -> None:
    """Kills, compares, prints."""
    del arguments
    with tempfile.TemporaryDirectory() as folder:
        told = kill_all(Path(folder), _KINDS.value, _RUNS.value, _KILLS.value, _SEED.value)
    print(json.dumps(told))
    if told["faults"]:
        fail(f"{len(told['faults'])} differences from undisturbed runs, first: {told['faults'][0]}.")


def kill_all(folder: Path, kinds: list[str], runs: int, kills: int, seed: int) -> dict[str, Any]:
    """Runs of each kind, killed; what came out as JSON.

    Args:
      folder: for the runs.
      kinds: keys of `KINDS`.
      runs: of each kind.
      kills: in all, shared by the runs.
      seed: of the moments.
    """
    random = np.random.default_rng(seed)
    faults: list[str] = []
    moments: Counter[str] = Counter()
    shares = np.diff(np.linspace(0, kills, len(kinds) * runs + 1).astype(int)).reshape(len(kinds), runs)
    began = time.monotonic()
    for kind, counts in zip(kinds, shares, strict=True):
        whole, started = folder / f"{kind}-whole", time.monotonic()
        train(kind, whole, None)
        seconds = time.monotonic() - started
        for number, count in enumerate(counts):
            killed = folder / f"{kind}-{number}"
            moments += _kill(kind, killed, int(count), seconds, random)
            found = list(differences(whole, killed))
            faults += [f"{killed.name}: {fault}" for fault in found]
            print(f"{killed.name}: killed {count} times, {len(found)} differences", flush=True)
    return {
        "kills": sum(moments.values()),
        "runs": len(kinds) * runs,
        "moments": dict(sorted(moments.items())),
        "seed": seed,
        "minutes": round((time.monotonic() - began) / 60, 1),
        "faults": faults,
    }


def _kill(kind: str, workdir: Path, count: int, seconds: float, random: np.random.Generator) -> Counter[str]:
    """Kills a run so often, then lets it finish."""
    moments: Counter[str] = Counter()
    while sum(moments.values()) < count:
        if random.random() < _IN_WRITES:
            death = Death(str(random.choice(MOMENTS)), float(random.integers(0, 6)))
        else:
            death = Death("", float(random.uniform(0.0, seconds)))
        if not train(kind, workdir, death):
            moments[death.moment or "at a time"] += 1
        elif not death.moment:
            break  # It was done before its time came. A write may be one that there was no longer.
    train(kind, workdir, None)
    return moments


def differences(whole: Path, killed: Path) -> Iterator[str]:
    """In what a run differs from one that nobody disturbed."""
    for name in (LATEST, BEST):
        (values, metadata), (others, other) = (_checkpoint(run / CHECKPOINTS / name) for run in (whole, killed))
        unlike = [key for key in {*values, *others} if key not in values or not _equal(values[key], others.get(key))]
        yield from (f"{key} of {name}" for key in unlike)
        yield from (f"{key} of {name}" for key in {*metadata, *other} if metadata.get(key) != other.get(key))
    if _lines(whole) != _lines(killed):
        yield METRICS
    if (whole / CONFIG).read_bytes() != (killed / CONFIG).read_bytes():
        yield CONFIG
    scores = {line["step"]: line for line in _lines(killed) if line["split"] == "validation"}
    best = _checkpoint(killed / CHECKPOINTS / BEST)[1]
    metric = "mse" if "mse" in next(iter(scores.values())) else "accuracy"
    chosen = (min if metric == "mse" else max)(line[metric] for line in scores.values())
    if not best["score"] == scores[best["step"]][metric] == chosen:
        yield f"the score of {BEST}"
    for path in earlier_checkpoints(killed / CHECKPOINTS):
        _checkpoint(path)
    if not check_manifest(killed, killed / MANIFEST):
        yield f"no {MANIFEST}"
    yield from (f"left behind: {path.name}" for path in killed.rglob(".*"))


def _equal(one: np.ndarray, other: np.ndarray | None) -> bool:
    return other is not None and one.dtype == other.dtype and one.tobytes() == other.tobytes()


def _checkpoint(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Without what no two runs share: TensorBoard's folder, and the digest of lines that have a speed."""
    values, metadata = read_checkpoint(path)
    states = metadata["callbacks"]
    states.pop("MetricsFile:0", None)
    for state in states.values():
        state.pop("log_dir", None)
    return values, metadata


def _lines(workdir: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (workdir / METRICS).read_text().splitlines()]
    return [{name: value for name, value in line.items() if name != "tasks_per_second"} for line in lines]


if __name__ == "__main__":
    run(main)

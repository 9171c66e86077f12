"""Kills trainings at random moments: `python -m benchmarks.reliability.kills [--kills=120 --seed=0]`.

Each run is killed (SIGKILL) again and again, some times in the midst of a write, until it finishes nevertheless; then
another one begins. It must end as one that nobody disturbed: bit for bit the same weights, optimiser, counters and best
checkpoint, the same lines of metrics, and no file of a killed writer. Prints one JSON object; the exit code is 2 if any
run differs.
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
_SEED = flags.DEFINE_integer("seed", 0, "Of the moments.", 0)
_KINDS = flags.DEFINE_multi_enum("kind", list(KINDS), list(KINDS), "What is trained.")
_IN_WRITES = 0.5
"""Share of kills that are inside a write."""


def main(arguments: list[str]) -> None:
    """Kills, compares, prints."""
    del arguments
    with tempfile.TemporaryDirectory() as folder:
        told = kill_all(Path(folder), _KINDS.value, _KILLS.value, _SEED.value)
    print(json.dumps(told))
    if told["faults"]:
        fail(f"{len(told['faults'])} differences from undisturbed runs, first: {told['faults'][0]}.")


def kill_all(folder: Path, kinds: list[str], kills: int, seed: int) -> dict[str, Any]:
    """Runs of each kind, killed; what came out as JSON.

    Args:
      folder: for the runs.
      kinds: keys of `KINDS`, which get equal shares.
      kills: in all.
      seed: of the moments.
    """
    random = np.random.default_rng(seed)
    told: dict[str, Any] = {"seed": seed}
    faults: list[str] = []
    for kind in kinds:
        # The first start of all imports; how long a run takes is measured after it.
        train(kind, folder / f"{kind}-first", Death("opened", 0.0))
        whole, began = folder / f"{kind}-whole", time.monotonic()
        train(kind, whole, None)
        seconds = time.monotonic() - began
        moments: Counter[str] = Counter()
        runs = 0
        while sum(moments.values()) < kills / len(kinds):
            killed = folder / f"{kind}-{runs}"
            ended = _kill(kind, killed, seconds, random)
            moments, runs = moments + ended, runs + 1
            found = list(differences(whole, killed))
            faults += [f"{killed.name}: {fault}" for fault in found]
            print(f"{killed.name}: killed {sum(ended.values())} times, {len(found)} differences", flush=True)
        told[kind] = {"runs": runs, "kills": sum(moments.values()), "moments": dict(sorted(moments.items()))}
    return {**told, "faults": faults}


def _kill(kind: str, workdir: Path, seconds: float, random: np.random.Generator) -> Counter[str]:
    """Kills a run until it has finished; how often, by the moment."""
    moments: Counter[str] = Counter()
    while True:
        if random.random() < _IN_WRITES:
            # Of several processes the first one writes.
            death, victim = Death(str(random.choice(MOMENTS)), float(random.integers(0, 8))), 0
        else:
            death, victim = Death("", float(random.uniform(0.0, seconds))), int(random.integers(KINDS[kind].processes))
        if train(kind, workdir, death, victim):
            return moments
        moments[death.moment or "at a time"] += 1


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

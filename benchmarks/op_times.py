"""Where the time of a graph goes: from a trace of TensorFlow's profiler to seconds by operation and by layer."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import tensorflow as tf

# Keras enters a layer's name as a scope, and a gradient operation carries that of its forward operation.
_LAYER = re.compile(
    r"(?:^|/)(?:(extractor|head|co_learner)(?:_\d+)?/)(?:([a-z][a-z0-9_]*?)_\d+(?:_\d+)?|([a-z][a-z0-9_]*))/"
)
_NOT_WORK = ("Eager", "$", "Thread", "ExecutorState")


class OpTime(NamedTuple):
    """One kind of operation at one place: seconds a run, over all threads, and how many times it ran."""

    operation: str
    name: str
    seconds: float
    times: float


def traced(run: Callable[[], object], runs: int) -> list[OpTime]:
    """What the operations of `run` took, a run; it is called once before, so that nothing is traced or built."""
    # The profiler's messages are part of TensorFlow's wheel, but of no public module.
    from tensorflow.tsl.profiler.protobuf import xplane_pb2

    run()
    with tempfile.TemporaryDirectory() as directory:
        tf.profiler.experimental.start(directory)
        try:
            for _ in range(runs):
                run()
        finally:
            tf.profiler.experimental.stop()
        space = xplane_pb2.XSpace()
        for file in Path(directory).rglob("*.xplane.pb"):
            space.MergeFromString(file.read_bytes())
    return op_times(space, runs)


def op_times(space: object, runs: int) -> list[OpTime]:
    """Sums the events of the host's planes by name, which is `NAME:OPERATION`."""
    seconds: dict[tuple[str, str], list[float]] = {}
    for plane in space.planes:  # type: ignore[attr-defined]
        if "host" not in plane.name.lower() or "CPU" not in plane.name:
            continue
        names = {key: value.name for key, value in plane.event_metadata.items()}
        for event in (event for line in plane.lines for event in line.events):
            if (parts := operation(names[event.metadata_id])) is not None:
                total = seconds.setdefault(parts, [0.0, 0.0])
                total[0] += event.duration_ps / 1e12 / runs
                total[1] += 1 / runs
    return [OpTime(kind, name, *total) for (kind, name), total in seconds.items()]


def operation(event: str) -> tuple[str, str] | None:
    """`(operation, name)` of an event's name; None for an event that is no operation of a graph."""
    name, separator, kind = event.rpartition(":")
    if not separator or "::" in event or event.startswith(_NOT_WORK):
        return None
    # oneDNN's kernels do the same under names of their own.
    return kind.split("#")[0].removeprefix("_MklNative").removeprefix("_Mkl"), name


def layer(name: str) -> str | None:
    """The layer in whose scope an operation stands, as `part/kind of layer`; None for none."""
    scopes = list(_LAYER.finditer(name))
    if not scopes:
        return None
    found = scopes[-1]
    gradient = " (gradient)" if "gradient" in name.lower() else ""
    return f"{found[1]}/{found[2] or found[3]}{gradient}"


def grouped(times: Iterable[OpTime], by: str) -> list[tuple[str, float, float]]:
    """`(group, seconds, times)`, the longest first.

    Derivatives that are written by hand (`tf.custom_gradient`) stand in no layer's scope; they are told by operation.

    Args:
      times: of single operations.
      by: `op` or `layer`.
    """
    sums: dict[str, list[float]] = {}
    for time in times:
        group = time.operation if by == "op" else layer(time.name) or f"elsewhere: {time.operation}"
        total = sums.setdefault(group, [0.0, 0.0])
        total[0] += time.seconds
        total[1] += time.times
    return sorted(((group, total[0], total[1]) for group, total in sums.items()), key=lambda row: -row[1])

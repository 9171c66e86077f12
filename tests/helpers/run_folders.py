"""What is in the folders of runs, for comparing them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from cml_tf.training.checkpoints import read_checkpoint


def metrics_lines(workdir: Path) -> list[dict[str, Any]]:
    """The lines of `metrics.jsonl` without speeds, which no two runs share."""
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name != "tasks_per_second"} for line in lines]


def checkpoint(workdir: Path, name: str) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Arrays and metadata of a checkpoint.

    Left out is what two equal runs differ in: TensorBoard's folder, the digest of lines with a speed, and the callback
    that a test was interrupted by.
    """
    values, metadata = read_checkpoint(workdir / "checkpoints" / f"{name}.npz")
    states = metadata["callbacks"]
    metadata["callbacks"] = {key: state for key, state in states.items() if key not in ("SignalAt:0", "MetricsFile:0")}
    for state in states.values():
        state.pop("log_dir", None)
    return values, metadata


def assert_same_runs(first: Path, second: Path) -> None:
    """Bit for bit: weights, optimiser, callback state, best checkpoint, metrics, configuration."""
    for name in ("latest", "best"):
        (values, metadata), (other_values, other_metadata) = checkpoint(first, name), checkpoint(second, name)
        assert set(values) == set(other_values)
        for key, value in values.items():
            np.testing.assert_array_equal(value, other_values[key], err_msg=f"{key} of {name}", strict=True)
        assert set(metadata) == set(other_metadata)
        for key, value in metadata.items():
            assert value == other_metadata[key], f"{key} of {name}"
    assert metrics_lines(first) == metrics_lines(second)
    assert (first / "config.json").read_bytes() == (second / "config.json").read_bytes()


def snapshot(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Content and time of the last change of every file below a folder, but for what Python compiled."""
    return {
        str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts
    }

"""Draws the memory of two soaks: `python -m benchmarks.soak_picture TRAINING.json SERVING.json PICTURE.png`."""

from __future__ import annotations

import sys
from pathlib import Path

from matplotlib.figure import Figure

from cml_tf.system.files import atomic_file, parsed_json


def draw(training: dict, serving: dict, picture: Path) -> None:
    """Memory over time, each soak in a panel that begins at zero.

    Args:
      training: of `benchmarks.training_soak`.
      serving: of `benchmarks.serving.soak`.
      picture: that is written.
    """
    figure = Figure(figsize=(9, 3.2), layout="constrained")
    told = {"training": f"{training.get('steps', 0):,} steps", "serving": f"{serving['answers']:,} answers"}
    for axes, (name, soak) in zip(
        figure.subplots(1, 2), {"training": training, "serving": serving}.items(), strict=True
    ):
        minutes, mib = zip(*((seconds / 60, resident) for seconds, resident in soak["memory_over_time"]), strict=True)
        axes.plot(minutes, mib, color="#0072b2", linewidth=1)
        slope, error = soak["memory_slope_mib_per_minute"], soak["memory_slope_ci95"]
        axes.set(title=f"{name}, {told[name]}\n{slope:+.3f} ± {error:.3f} MiB a minute", xlabel="minutes")
        axes.set(ylabel="resident memory, MiB", ylim=(0, 1.15 * max(mib)))
    with atomic_file(picture) as file:
        figure.savefig(file, format="png", dpi=120)


if __name__ == "__main__":
    first, second, drawn = map(Path, sys.argv[1:])
    draw(parsed_json(first.read_bytes()), parsed_json(second.read_bytes()), drawn)

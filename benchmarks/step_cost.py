"""What training would take on one GPU: `python -m benchmarks.step_cost --config=FILE[:ARGUMENTS] [--config=...]`.

The step of every configuration is traced, its operations are counted, and the hours of the whole run follow from two
rates: how many operations the device does in a second, and how long it takes to start one of its kernels. Those are
assumptions: nothing is run. Validation is not counted. Configurations of nodes cannot be counted, since sparse products
have no static shapes. Random episodes of the right shapes replace the dataset.
"""

from __future__ import annotations

import tensorflow as tf
from absl import flags
from ml_collections import ConfigDict

from benchmarks.graph_operations import Operations, graph_operations
from benchmarks.performance.configured import build_configured
from cml_tf.experiments.configuration import load_config
from cml_tf.system.command_line import fail, run

_CONFIGS = flags.DEFINE_multi_string("config", None, "Configuration file, with arguments after a colon.", required=True)
_TFLOPS = flags.DEFINE_float("tflops", 10.0, "Operations per second of the device, in 10^12.", 1e-3)
_START = flags.DEFINE_float("microseconds", 10.0, "Time of the device to start a kernel.", 0.0)


def main(arguments: list[str]) -> None:
    """Counts and prints a Markdown table."""
    del arguments
    print("| configuration | 10^9 operations per step | kernels per step | outer steps | expected hours |")
    print("|---|---|---|---|---|")
    for source in _CONFIGS.value:
        try:
            row = cells(load_config(source), _TFLOPS.value, _START.value)
        except ValueError as error:
            fail(f"{source}: {error}")
        print(f"| {source} | {' | '.join(row)} |", flush=True)


def cells(config: ConfigDict, tflops: float, microseconds: float) -> tuple[str, str, str, str]:
    """A row of the table behind its name; the rates are those of the flags."""
    counted, steps = step_operations(config), config.train.steps
    seconds = counted.products / (tflops * 1e12) + counted.kernels * microseconds * 1e-6
    hours = seconds * steps / 3600
    return f"{counted.products / 1e9:,.5g}", f"{counted.kernels:,}", f"{steps:,}", f"{hours:.2g}"


def step_operations(config: ConfigDict) -> Operations:
    """Of the first outer step of a configuration."""
    trainer, episode = build_configured(config)
    trips = None if trainer.meta_step.vectorised else config.train.meta_batch
    step = tf.function(trainer.meta_step.__call__, autograph=False)
    return graph_operations(step.get_concrete_function(episode), trips)


if __name__ == "__main__":
    run(main)

"""Scores and times a file of `python -m export.device` with TensorFlow's interpreter of LiteRT, on glyphs.

    python -m benchmarks.device --model=letters.tflite [--episodes=600 --seed=0]

Queries are asked as many at a time as the file takes. Prints a JSON object: accuracy with its 95 % interval over the
episodes, the file's size, and medians of a call in milliseconds.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from absl import flags

import cml_tf
from cml_tf.errors import UserError
from cml_tf.system.command_line import run
from cml_tf.training.evaluator import confidence_interval
from examples.device.few_shot import DeviceModel, Task

_QUERIES = 15
_MODEL = flags.DEFINE_string("model", None, "File of export.device.", required=True)
_EPISODES = flags.DEFINE_integer("episodes", 600, "Number of test episodes.", 2)
_SEED = flags.DEFINE_integer("seed", 0, "Seed of the episodes.", 0)


def measure(path: Path, episodes: int, seed: int) -> dict[str, Any]:
    """Adapts to glyphs of the test split and asks about others of the same classes.

    Args:
      path: of a file for glyphs, 28x28.
      episodes: how many, 2 or more.
      seed: of the episodes.
    """
    model = DeviceModel(path, tf.lite.Interpreter)
    ways = model.facts["problem"]["outputs"]
    shots = model.facts["support"] // ways
    source = cml_tf.datasets.load("glyphs").episodes("test", ways=ways, shots=shots, queries=_QUERIES, seed=seed)
    scores: list[float] = []
    adapting: list[float] = []
    answering: list[float] = []
    for number in range(episodes):
        episode = tf.nest.map_structure(lambda tensor: tensor.numpy()[0], source.batch(number, 1))
        support, query = episode.support, episode.query
        task, took = timed(partial(model.adapt, support.inputs, support.targets.tolist()))
        adapting.append(took)
        answer, calls = asked(task, query.inputs, model.facts["queries"])
        answering += calls
        named = np.array(task.names)[answer.argmax(1)]
        scores.append(float((named == query.targets).mean()))
    return {
        "accuracy": statistics.mean(scores),
        "ci95": confidence_interval(np.array(scores)),
        "episodes": episodes,
        "bytes": path.stat().st_size,
        "adapt_ms": 1000 * statistics.median(adapting),
        "predict_ms": 1000 * statistics.median(answering),
    }


def asked(task: Task, queries: np.ndarray, count: int) -> tuple[np.ndarray, list[float]]:
    """The answers to all queries, so many at a time, and the seconds of each call."""
    if len(queries) % count:
        raise UserError(f"the file must take 1 query at a time, or a divisor of {len(queries)}, not {count}.")
    calls = [timed(partial(task.predict, part)) for part in np.split(queries, len(queries) // count)]
    return np.concatenate([answer for answer, _ in calls]), [took for _, took in calls]


def timed(call: Callable[[], Any]) -> tuple[Any, float]:
    """What a call gives, and the seconds it took."""
    start = time.perf_counter()
    return call(), time.perf_counter() - start


def main(arguments: list[str]) -> None:
    """Measures one file."""
    del arguments
    print(json.dumps(measure(Path(_MODEL.value), _EPISODES.value, _SEED.value)))


if __name__ == "__main__":
    run(main)

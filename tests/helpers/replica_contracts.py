"""Every member's meta-steps on replicas beside those on one device: replica_contracts DEVICES [member ...].

With TF_CONFIG in the environment the replicas are processes, else virtual devices of this one. Prints a line for each
choice of members (that has one of those named), and ends with 1 if one differs.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf
from absl import flags

from cml_tf.experiments.strategies import chosen_replicas
from cml_tf.registry import Choice
from cml_tf.training.meta_step import MetaStep
from cml_tf.training.method import Method
from cml_tf.training.replicas import Replicas
from tests.helpers.members import choice_with, contract_case, contract_choices, names_of

STEPS, TOLERANCE = 20, 1e-10
# At ten times as much, roundings grow by eight digits in 20 steps of ResNet-12 on noise, in one process too.
RATE = 1e-3


def values_after(choice: Choice, tasks: int, replicas: Replicas, **options: float) -> list[np.ndarray]:
    """All losses, metrics and variables after some steps."""
    keras.utils.set_random_seed(0)
    method, episode = contract_case(choice)
    groups = method.trained_variables()
    step = MetaStep(
        method,
        dict.fromkeys(groups, keras.optimizers.Adam(RATE)),
        clip_norm=1.0,
        replicas=replicas,
        **options,
    )
    reported = []
    for number in range(STEPS):
        result = step(replicas.of_process(_whole(episode, tasks, number)))
        assert bool(result.finite)
        reported += [result.term_losses, *(result.metrics[name] for name in sorted(result.metrics))]
    assert step.traces == 1
    return [np.asarray(value) for value in (*reported, *tf.nest.flatten(_variables(method)))]


def _variables(method: Method) -> list[np.ndarray]:
    return [keras.ops.convert_to_numpy(v) for group in method.all_variables().values() for v in group]


def _whole(episode, tasks: int, number: int):
    """As many tasks, each another one in every step."""

    def grown(part):
        part = np.asarray(part)
        rows = [np.roll(part[i % len(part)], i + number, axis=0) for i in range(tasks)]
        return np.stack(rows)

    # Labels and inputs are rolled alike, so they still belong together.
    support, query = tf.nest.map_structure(grown, (episode.support, episode.query))
    key = np.stack([np.array([number, i], np.int64) for i in range(tasks)])
    classes = tf.nest.map_structure(lambda part: np.asarray(part)[np.arange(tasks) % len(part)], episode.classes)
    return episode._replace(support=support, query=query, key=key, classes=classes)


def main() -> int:
    """Compares."""
    devices, *wanted = sys.argv[1:]
    flags.FLAGS(
        ["", f"--strategy={'multi_worker' if 'TF_CONFIG' in os.environ else 'mirrored'}", f"--cpu_devices={devices}"]
    )
    with chosen_replicas() as replicas:
        return compare(replicas, wanted)


def compare(replicas: Replicas, wanted: Sequence[str]) -> int:
    """Prints what differs, and counts it up to 1."""
    keras.config.set_floatx("float64")
    keras.config.set_dtype_policy("float64")
    cases: list[tuple[Choice, dict[str, float]]] = [(choice, {}) for choice in contract_choices()]
    cases.append((choice_with("learner", "mlp"), {"sharpness": 0.1, "accumulate": 2}))
    failed = 0
    for choice, options in cases:
        names = names_of(choice)
        if wanted and not set(wanted) & set(names):
            continue
        alone, shared = (values_after(choice, 2 * replicas.count, one, **options) for one in (Replicas(), replicas))
        difference = max(float(np.abs(a - b).max(initial=0)) for a, b in zip(alone, shared, strict=True))
        equal = difference < TOLERANCE
        failed += not equal
        print("equal" if equal else "DIFFERENT", *names, *options, difference, flush=True)
        # Graphs refer to themselves.
        gc.collect()
    return min(failed, 1)


if __name__ == "__main__":
    sys.exit(main())

"""What adjoints keep: stored states and nothing else, by the peak of a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

MEASURE = """
import numpy as np, tensorflow as tf
from benchmarks.performance.resident import resident
from cml_tf.adaptation import SGD, AdjointDiscrete, AdjointHeun, GradientDescent
from cml_tf.learners import mlp
from cml_tf.objectives import QueryLoss
from cml_tf.problems import Regression
from cml_tf.training.meta_gradient import meta_gradient
from cml_tf.training.method import Method
from tests.helpers.seeded_episodes import regression_episode

problem, learner = Regression(1), mlp(1, (2,), hidden=(256, 256))
episode = regression_episode(tasks=1, shots=200)

def gradients_of(order):
    rule = GradientDescent(problem, SGD(1e-3), 1, order)

    @tf.function(autograph=False)
    def gradients(steps):
        method = Method.of(learner, rule.with_steps(steps), [QueryLoss(problem)])
        return meta_gradient(method, episode, method.weights()).gradients

    return gradients

kinds = AdjointHeun, AdjointDiscrete
orders = {stored: [gradients_of(kind(stored_every=stored)) for kind in kinds] for stored in (1, 25)}
# All graphs are there before anything is measured.
for steps, stored in ((10, 25), (10, 1), (260, 25), (260, 1)):
    for gradients in orders[stored]:
        found = gradients(tf.constant(steps))
        assert all(np.isfinite(part).all() for group in found.values() for part in group)
    print(resident()["peak"])
"""
STATE = 4 * (3 * 256 + 257 * 256 + 257) / 2**20
"""MiB of the weights after one inner step."""


@pytest.mark.slow
def test_memory_grows_by_the_stored_states_alone():
    """From 10 steps to 260: about 250 states where all are stored, a fraction where every 25th is.

    Of one process, whose peak never falls: what any of the two keeps too much shows in all that is measured later.
    Allocators keep pages that differ by machine, so the bounds are wide: 1.03 states a step were measured, and 4.1 of
    reverse mode, which keeps what 200 examples make in a step as well.
    """
    # Each large tensor gets pages of its own and gives them back: what the allocator keeps is not what is stored.
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536"}
    run = subprocess.run([sys.executable, "-c", MEASURE], check=True, capture_output=True, text=True, env=environment)
    _, few, some, all_of_them = map(float, run.stdout.split())
    assert all_of_them - few < 1.5 * 250 * STATE
    assert some - few < 0.5 * 250 * STATE

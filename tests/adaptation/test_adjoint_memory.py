"""What adjoints keep: stored states and nothing else, by the peak of a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

MEASURE = """
import sys
import numpy as np, tensorflow as tf
from benchmarks.performance.resident import resident
from cml_tf.adaptation import SGD, AdjointDiscrete, AdjointHeun, GradientDescent, make_hypergradient
from cml_tf.learners import mlp
from cml_tf.objectives import QueryLoss
from cml_tf.problems import Regression
from cml_tf.training.meta_gradient import meta_gradient
from cml_tf.training.method import Method
from tests.helpers.seeded_episodes import regression_episode

order = {"heun": AdjointHeun, "discrete": AdjointDiscrete}[sys.argv[1]](stored_every=int(sys.argv[3]))
problem = Regression(1)
rule = GradientDescent(problem, SGD(1e-3), int(sys.argv[2]), order)
method = Method.of(mlp(1, (2,), hidden=(256, 256)), rule, [QueryLoss(problem)])
episode = regression_episode(tasks=1, shots=50)
run = tf.function(lambda: meta_gradient(method, episode, method.weights()).gradients, autograph=False)
for _ in range(2):
    gradients = run()
assert all(np.isfinite(part).all() for group in gradients.values() for part in group)
print(resident()["peak"])
"""
STATE = 4 * (3 * 256 + 257 * 256 + 257) / 2**20
"""MiB of the weights after one inner step."""


def peak(name, steps, stored):
    # Each large tensor gets pages of its own and gives them back: what the allocator keeps is not what is stored.
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536"}
    command = [sys.executable, "-c", MEASURE, name, str(steps), str(stored)]
    run = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    return float(run.stdout)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["heun", "discrete"])
def test_memory_grows_by_the_stored_states_alone(name):
    """From 10 steps to 500: about 490 states where all are stored, a fraction where every 25th is.

    Allocators keep pages that differ by machine, so the bounds are wide; reverse mode needs 14 times as much.
    """
    few, states = peak(name, 10, 1), 490 * STATE
    assert peak(name, 500, 1) - few < 1.5 * states
    assert peak(name, 500, 25) - few < 0.5 * states

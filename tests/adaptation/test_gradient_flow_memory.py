"""What a meta-gradient of gradient flow keeps: nothing of a solver's step, by the peak of a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from tests.helpers.memory import growth

MEASURE = """
import json
import keras, numpy as np, tensorflow as tf
from benchmarks.performance.resident import resident
from cml_tf.adaptation import SGD, GradientDescent, GradientFlow, anil
from cml_tf.learners import Learner
from cml_tf.objectives import QueryLoss
from cml_tf.problems import Classification
from cml_tf.training.meta_gradient import meta_gradient
from cml_tf.training.method import Method
from tests.helpers.memory import growth
from tests.helpers.seeded_episodes import classification_episode

problem = Classification(5)
learner = Learner(keras.layers.Identity(), keras.layers.Dense(5), input_shape=(64,))
episode = classification_episode(tasks=1, ways=5, shots=5, shape=(64,))

def run(gradients, steps):
    found = gradients(tf.constant(steps))
    assert all(np.isfinite(part).all() for group in found.values() for part in group)

def gradients_of(rule_of):
    @tf.function(autograph=False)
    def gradients(steps):
        method = Method.of(learner, rule_of(steps), [QueryLoss(problem)])
        return meta_gradient(method, episode, method.weights()).gradients
    return gradients

def flow_of(solver_steps):
    rule = GradientFlow(problem, solver_steps=solver_steps)
    return gradients_of(lambda steps: rule)

# The very first graph costs more than any later one.
flows = [growth(lambda: run(flow_of(steps), steps)) for steps in (10, 10, 500)][1:]
gradients, peaks = gradients_of(lambda steps: GradientDescent(problem, anil(SGD(1e-4)), steps)), []
for steps in (10, 10_000, 20_000):
    run(gradients, steps)
    peaks.append(resident()["peak"])
print(json.dumps([flows, peaks]))
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_steps_of_the_solver_and_that_of_anil_does():
    """5-way 5-shot. Derivatives are 0.36 MiB: with those of each step kept, 500 steps would need 179 MiB.

    ANIL's reverse mode keeps 1.4 KiB of a step, since its head is linear: little, and as often as there are steps. The
    figures are in docs/systems/comln.md.
    """
    growth(lambda: None)
    # What the allocator keeps of large tensors is not what is stored: each gets pages of its own and gives them back.
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536"}
    run = subprocess.run([sys.executable, "-c", MEASURE], check=True, capture_output=True, text=True, env=environment)
    (few, many), (short, half, whole) = json.loads(run.stdout)
    assert abs(many - few) < 4
    assert half - short > 6 and 0.7 < (whole - half) / (half - short) < 1.4

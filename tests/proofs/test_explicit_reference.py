"""CML against an implementation that shares nothing with it: NumPy, with derivatives written out by hand."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from cml_tf.adaptation import SGD, GradientDescent, make_hypergradient
from cml_tf.learners import mlp, mlp_co_learner
from cml_tf.objectives import CoLearner, QueryLoss
from cml_tf.problems import Regression
from cml_tf.training.meta_step import MetaStep
from cml_tf.training.method import Method
from tests.helpers.differences import gradients_of
from tests.helpers.models import randomise
from tests.helpers.seeded_episodes import regression_episode
from tests.proofs import explicit_cml
from tests.proofs.explicit_cml import Adam, flat, unflat

RATE, STEPS, GAMMA = 0.2, 3, 0.7
TASKS = 3
# Keras reads its rates through float32 on their way to float64: these numbers come out of that as they went in.
ADAM = {"rate": 2.0**-6, "first": 1.0 - 2.0**-3, "second": 1.0 - 2.0**-10}


def make() -> Method:
    """2-4-3-2 with tanh and a co-learner 3-3-2."""
    problem = Regression(2)
    learner = mlp(2, (2,), hidden=(4, 3), activation="tanh")
    randomise(learner, 0)
    terms = [QueryLoss(problem), CoLearner(mlp_co_learner(2, 3, "tanh"), problem, weight=GAMMA)]
    method = Method.of(learner, GradientDescent(problem, SGD(RATE), STEPS), terms)
    randomise(terms[1].variables, 1)
    return method


def episode_of(seed: int):
    episode = regression_episode(seed, tasks=TASKS, outputs=2)
    arrays = [np.asarray(array) for part in (episode.support, episode.query) for array in part[:2]]
    return episode, [tuple(array[task] for array in arrays) for task in range(TASKS)]


def values_of(method: Method) -> tuple[list[np.ndarray], list[np.ndarray]]:
    groups = method.trained_variables()
    return tuple([variable.numpy() for variable in groups[name]] for name in ("learner", "co_learner"))


def explicit_gradients(learner, co_learner, tasks):
    results = [
        explicit_cml.task_gradient(unflat(learner), unflat(co_learner), task, RATE, STEPS, GAMMA) for task in tasks
    ]
    losses = np.array([result[:2] for result in results])
    means = [
        [np.mean(arrays, axis=0) for arrays in zip(*(flat(result[part]) for result in results), strict=True)]
        for part in (2, 3)
    ]
    return losses, *means


def close(received, expected):
    for left, right in zip(received, expected, strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("hypergradient", ["reverse", "reverse_rematerialised"])
def test_meta_gradient_equals_the_explicit_one(float64, hypergradient):
    method = make()
    method.rule.hypergradient = make_hypergradient(hypergradient)
    episode, tasks = episode_of(0)
    _, of_learner, of_co_learner = explicit_gradients(*values_of(method), tasks)
    gradients = gradients_of(method, episode)
    close(gradients["learner"], of_learner)
    close(gradients["co_learner"], of_co_learner)


def test_training_equals_the_explicit_one(float64):
    """Six outer steps of the compiled meta-step with Keras' Adam against Adam's formulas."""
    method = make()
    learner, co_learner = values_of(method)
    optimisers = {
        group: keras.optimizers.Adam(ADAM["rate"], beta_1=ADAM["first"], beta_2=ADAM["second"])
        for group in ("learner", "co_learner")
    }
    step = MetaStep(method, optimisers, vectorised=False)
    adams = Adam(**ADAM), Adam(**ADAM)
    start = learner
    for number in range(6):
        episode, tasks = episode_of(number)
        losses, of_learner, of_co_learner = explicit_gradients(learner, co_learner, tasks)
        np.testing.assert_allclose(step(episode).term_losses, losses, rtol=1e-10)
        learner = adams[0].apply(learner, of_learner)
        co_learner = adams[1].apply(co_learner, of_co_learner)
        close(values_of(method)[0], learner)
        close(values_of(method)[1], co_learner)
    assert all(np.abs(end - begin).max() > 0.02 for end, begin in zip(learner, start, strict=True))

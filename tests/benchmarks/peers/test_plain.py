"""The plain learner is the fast one, in values and in gradients."""

import numpy as np
import pytest
import tensorflow as tf

from benchmarks.peers.plain import plain_conv4, plain_conv4_co_learner
from cml_tf.adaptation import SGD, GradientDescent
from cml_tf.episodes import Episode, Examples
from cml_tf.learners import conv4, conv4_co_learner
from cml_tf.objectives import CoLearner, QueryLoss
from cml_tf.problems import Classification
from cml_tf.training.meta_gradient import meta_gradient
from cml_tf.training.method import Method

SHAPE, WAYS, FILTERS = (17, 19, 2), 3, 2


def method(learner, *co_learners) -> Method:
    problem = Classification(WAYS)
    terms = [QueryLoss(problem), *(CoLearner(one, problem) for one in co_learners)]
    made = Method.of(learner, GradientDescent(problem, SGD(0.1), 1), terms)
    generator = np.random.default_rng(1)
    for variables in made.trained_variables().values():
        for variable in variables:
            variable.assign(generator.normal(size=variable.shape) * (0.3 if len(variable.shape) > 1 else 1.0))
    return made


@pytest.mark.parametrize("mode", ["batch_transductive", "support"])
def test_plain_and_fast_have_one_loss_and_one_meta_gradient(mode, float64):
    generator = np.random.default_rng(0)

    def examples(count):
        labels = np.arange(count, dtype=np.int32)[None] % WAYS
        return Examples(tf.constant(generator.normal(size=(1, count, *SHAPE))), tf.constant(labels))

    episode = Episode(examples(6), examples(4))
    # A co-learner has one mode.
    makers = (plain_conv4_co_learner, conv4_co_learner) if mode == "batch_transductive" else ()
    plain, fast = (
        method(learner(WAYS, SHAPE, FILTERS, mode), *(maker(WAYS, FILTERS) for maker in makers[place : place + 1]))
        for place, learner in enumerate((plain_conv4, conv4))
    )
    results = [meta_gradient(m, episode, m.weights()) for m in (plain, fast)]
    np.testing.assert_allclose(results[0].loss, results[1].loss, rtol=1e-10)
    for ours, theirs in zip(*(tf.nest.flatten(r.gradients) for r in results), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-7, atol=1e-10)

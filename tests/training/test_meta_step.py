"""A method and its meta-step: variables by group, compiled once, clipped by group, no step on what is not finite."""

from __future__ import annotations

import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from cml_tf.adaptation import SGD, GradientDescent, MetaSGD
from cml_tf.episodes import Episode
from cml_tf.learners import conv4
from cml_tf.objectives import CoLearner, QueryLoss
from cml_tf.training.meta_gradient import evaluate_losses, meta_gradient
from cml_tf.training.meta_step import MetaStep
from cml_tf.training.method import Method
from tests.helpers.contract_tables import PROBLEM, make_episode, make_method
from tests.helpers.differences import gradients_of
from tests.helpers.models import smooth_mlp, two_blocks
from tests.helpers.precision import precision
from tests.helpers.seeded_episodes import classification_episode, tasks_of


def make_step(method, clip_norm=0.0, rate=0.1, **options):
    groups = method.trained_variables()
    optimizers = {group: keras.optimizers.SGD(rate) for group in groups}
    return MetaStep(method, optimizers, clip_norm, vectorised=False, **options)


def values(method):
    return {group: [v.numpy() for v in variables] for group, variables in method.all_variables().items()}


def test_takes_one_step_of_gradient_descent_with_groups_clipped_apart(float64):
    """All members take steps in tests/experiments/test_members.py."""
    method, episode, clip_norm, rate = make_method("meta_sgd", steps=1), make_episode(), 0.01, 1.0
    method.terms[1].weight = 1000.0
    before, gradients = values(method), gradients_of(method, episode)
    losses, metrics = evaluate_losses(method, episode)
    result = make_step(method, clip_norm, rate)(episode)
    assert set(gradients) == {"learner", "adaptation", "co_learner"}
    for group, variables in values(method).items():
        norm = np.sqrt(sum(np.sum(np.square(gradient)) for gradient in gradients[group]))
        factor = min(1.0, clip_norm / norm)
        for start, gradient, end in zip(before[group], gradients[group], variables, strict=True):
            np.testing.assert_allclose(end, start - rate * factor * gradient, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(result.term_losses, losses, rtol=1e-10)
    assert set(result.metrics) == {"loss", "accuracy", "co_loss", "co_accuracy"} == set(metrics)
    for name, metric in metrics.items():
        np.testing.assert_allclose(result.metrics[name], metric, rtol=1e-10)


@pytest.mark.parametrize("weight", [0.0, 0.5])
def test_weights_are_read_anew_at_every_call(float64, weight):
    method, episode = make_method(), make_episode()
    method.terms[1].weight = weight
    losses, _ = evaluate_losses(method, episode)
    result = meta_gradient(method, episode, method.weights())
    assert float(result.loss) == pytest.approx(float(np.mean(losses[:, 0] + weight * losses[:, 1])), rel=1e-14)


@pytest.mark.slow
def test_an_unknown_number_of_tasks_gives_the_same(float64):
    """Known numbers are unrolled, unknown ones loop: losses, metrics and gradients agree; all share one context."""
    method = make_method("meta_sgd", learner="gcn", steps=1)
    episode = make_episode("gcn", tasks=2)._replace(key=(), classes=())
    parts = tf.nest.map_structure(lambda t: tf.TensorSpec([None, *t.shape[1:]], t.dtype), tuple(episode)[:2])
    signature = Episode(*parts, tf.nest.map_structure(tf.type_spec_from_value, episode.context))
    compiled = tf.function(
        lambda meta_batch, weights: meta_gradient(method, meta_batch, weights), autograph=False
    ).get_concrete_function(signature, tf.TensorSpec([2], tf.float64))
    for meta_batch in (episode, tasks_of(episode, [1])):
        tf.nest.map_structure(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12),
            compiled(meta_batch, method.weights()),
            meta_gradient(method, meta_batch, method.weights()),
        )


@pytest.mark.slow
def test_mixed_bfloat16_is_honoured():
    """Compute in bfloat16, variables in float32, losses and gradients in float32, and the step still learns."""
    with precision(policy="mixed_bfloat16"):
        learner = two_blocks(conv4, 3, (8, 8, 1), 4)
        method = Method.of(learner, GradientDescent(PROBLEM, SGD(0.1)), [QueryLoss(PROBLEM)])
        assert learner.example_features.dtype == tf.bfloat16
        step, episode = make_step(method, rate=0.05), classification_episode(shape=(8, 8, 1))
        losses = [step(episode).term_losses for _ in range(8)]
    assert {v.dtype for group in method.all_variables().values() for v in group} == {"float32"}
    assert losses[0].dtype == tf.float32
    assert float(tf.reduce_sum(losses[-1])) < float(tf.reduce_sum(losses[0]))


def co_learner(name="co_learner"):
    return CoLearner(keras.layers.Dense(3), PROBLEM, name=name)


def of_terms(*terms):
    return Method.of(smooth_mlp(), GradientDescent(PROBLEM, SGD(0.1)), terms)


def without_theta():
    """First order and nothing but the co-learner: theta reaches no loss, which is said instead of ignored."""
    method = make_method().of_first_order().with_terms(["co_learner"])
    meta_gradient(method, make_episode(), method.weights())


REFUSED = {
    "no terms": (of_terms, "at least one objective term.*received \\[\\]"),
    "one name twice": (lambda: of_terms(QueryLoss(PROBLEM), QueryLoss(PROBLEM)), "all with different names"),
    # These would replace that group in a checkpoint.
    **{
        name: (lambda name=name: of_terms(QueryLoss(PROBLEM), co_learner(name)), rf"received \['{name}'\]")
        for name in ("learner", "adaptation", "learner_state")
    },
    "no optimiser": (lambda: MetaStep(make_method("meta_sgd"), {"learner": None}), r"\['adaptation', 'co_learner', "),
    "a negative norm": (lambda: make_step(make_method(), clip_norm=-1.0), "clip_norm must be 0"),
    # To clip by it makes NaN of all gradients.
    "an infinite norm": (lambda: make_step(make_method(), clip_norm=math.inf), "clip_norm must be 0.*received inf"),
    "half a task": (lambda: make_step(make_method(), task_chunk=2.5), "task_chunk must be .*received 2.5"),
    "an unused variable": (without_theta, r"does not depend on variable 'head/.*' of group 'learner'"),
}


@pytest.mark.parametrize(("make", "message"), REFUSED.values(), ids=REFUSED)
def test_what_makes_no_step_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_groups_hold_every_variable_once_and_the_learner_none_of_a_term():
    method = make_method("meta_sgd", "two_co_learners")
    groups = method.trained_variables()
    assert {name: len(variables) for name, variables in groups.items()} == {
        "learner": 6, "adaptation": 6, "co_learner": 4, "second_co_learner": 4
    }  # fmt: skip
    assert len({id(variable) for variables in groups.values() for variable in variables}) == 20
    assert groups["learner"] == (*method.learner.variables.extractor, *method.learner.variables.head)
    assert method.all_variables() == groups
    of_terms = {id(variable) for term in method.terms for variable in term.variables}
    layers = (method.learner.extractor, method.learner.head)
    assert not of_terms & {id(v) for layer in layers for v in layer.variables}, "export strips by construction"
    rule = GradientDescent(PROBLEM, MetaSGD(0.1))
    first, second = (Method.of(method.learner, rule, [QueryLoss(PROBLEM), *terms]) for terms in ([], [co_learner()]))
    assert first.trained_variables()["adaptation"] == second.trained_variables()["adaptation"], "a rule may be shared"

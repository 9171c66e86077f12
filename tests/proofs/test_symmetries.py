"""What must not matter does not: the names of classes, the order of examples and tasks, the neighbours of a task."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from cml_tf.adaptation import SGD, GradientDescent
from cml_tf.learners import Learner
from cml_tf.objectives import QueryLoss
from cml_tf.registry import members
from cml_tf.training.meta_gradient import evaluate_losses
from cml_tf.training.method import Method
from tests.helpers.contract_tables import PROBLEM, make_episode, make_method, with_learners
from tests.helpers.differences import gradients_of
from tests.helpers.members import choice_with, contract_case
from tests.helpers.seeded_episodes import classification_episode, one_task, tasks_of

PERMUTATION = [2, 0, 1]
# Of each kind of examples one, and what keeps something of a task: a count, moments, a context.
KEEPING = [f"{mode}_normalisation" for mode in ("per_step", "support", "tasknorm")]
LEARNERS = ["mlp", "conv", "embedding", "gcn", *KEEPING]
ADJOINTS = [f"adjoint_{name}" for name in ("discrete", "heun", "backsolve")]
# A learned rate belongs to an entry of the head, and so to a class: the two rules that have some rename nothing.
RENAMING = [*members("rule"), "context_scaling", *ADJOINTS]
ORDERLESS = [*members("rule"), *members("update"), *ADJOINTS]


def permute_columns(variables):
    """Output column `PERMUTATION[i]` becomes the old column i, in the last kernel and bias."""
    for variable in variables[-2:]:
        old, new = variable.numpy(), variable.numpy()
        new[..., PERMUTATION] = old
        variable.assign(new)


@pytest.mark.parametrize(
    ("rule", "learner"), with_learners("sgd", ("mlp", "conv", "gcn", KEEPING[-1]), "anil_sgd", "boil_sgd")
)
def test_renaming_the_classes_renames_the_outputs(float64, rule, learner):
    method, episode = make_method(rule, learner=learner), make_episode(learner, tasks=1)
    renamed = episode._replace(
        **{
            part: getattr(episode, part)._replace(targets=tf.gather(PERMUTATION, getattr(episode, part).targets))
            for part in ("support", "query")
        }
    )

    def outputs(episode):
        outcome = method.outcome(method.rule.initial(method.learner), one_task(episode, 0))
        co_outputs = method.terms[1].read(outcome.query_forward, method.term_values()[1])
        return outcome.query_forward[1].numpy(), co_outputs.numpy()

    before, losses = outputs(episode), evaluate_losses(method, episode)[0]
    permute_columns(method.learner.variables.head)
    permute_columns(method.terms[1].variables)
    after = outputs(renamed)
    for old, new in zip(before, after, strict=True):
        np.testing.assert_allclose(new[:, PERMUTATION], old, rtol=1e-10, atol=1e-12)
        assert np.abs(new - old).max() > 1e-2
    np.testing.assert_allclose(evaluate_losses(method, renamed)[0], losses, rtol=1e-10)


def case_of(name):
    """The plainest method with a member, a hypernetwork without the numbers of classes among it, and a task."""
    axis = next(axis for axis in ("rule", "update", "hypergradient") if name in members(axis))
    method, episode = contract_case(choice_with(axis, name))
    return method, one_task(episode, 0)


def answers(method, task, **support):
    """To the queries, after adaptation to a support set that differs so."""
    task = task._replace(support=task.support._replace(**support))
    return method.outcome(method.rule.initial(method.learner), task).query_forward[1].numpy()


@pytest.mark.parametrize("name", RENAMING)
def test_every_rule_and_flow_renames_its_outputs(float64, name):
    method, task = case_of(name)
    before = answers(method, task)
    permute_columns(method.learner.variables.head)
    after = answers(method, task, targets=tf.gather(PERMUTATION, task.support.targets))
    np.testing.assert_allclose(after[:, PERMUTATION], before, rtol=1e-9, atol=1e-12)
    assert np.abs(after - before).max() > 1e-2


@pytest.mark.parametrize("name", ORDERLESS)
def test_the_order_of_support_examples_does_not_matter(float64, name):
    method, task = case_of(name)
    before, (inputs, targets) = answers(method, task), task.support[:2]
    turned = tf.reverse(inputs, [0])
    after = answers(method, task, inputs=turned, targets=tf.reverse(targets, [0]))
    np.testing.assert_allclose(after, before, rtol=1e-9, atol=1e-12)
    assert np.abs(answers(method, task, inputs=turned) - before).max() > 1e-3, "which example has which target does"


@pytest.mark.parametrize(("rule", "learner"), with_learners("a_rule_for_each", LEARNERS, "per_step_rates", "frozen"))
def test_order_and_neighbours_of_tasks_do_not_matter(float64, rule, learner):
    method, episode = make_method(rule, learner=learner), make_episode(learner)
    losses = evaluate_losses(method, episode)[0].numpy()
    assert np.ptp(losses[:, 0]) > 1e-3
    for order in ([1, 1, 0], [1]):
        np.testing.assert_allclose(evaluate_losses(method, tasks_of(episode, order))[0], losses[order], rtol=1e-10)


@pytest.mark.parametrize("learner", ["mlp", "conv", KEEPING[0]])
def test_neighbours_do_not_matter_in_float32_either(learner):
    """Compiled, in the number format of everyday use, where joined tasks may round differently."""
    method, episode = make_method(learner=learner, steps=1), make_episode(learner, tasks=3)
    compiled = tf.function(lambda meta_batch: evaluate_losses(method, meta_batch)[0], autograph=False)
    together = compiled(episode)
    alone = [compiled(tasks_of(episode, [position]))[0] for position in range(3)]
    np.testing.assert_allclose(together, alone, rtol=1e-5, atol=1e-5)


def test_the_meta_gradient_is_the_mean_of_the_tasks(float64):
    method, episode = make_method("meta_sgd"), make_episode(tasks=3)
    together = gradients_of(method, episode)
    apart = [gradients_of(method, tasks_of(episode, [position])) for position in range(3)]
    for group, gradients in together.items():
        for position, gradient in enumerate(gradients):
            mean = np.mean([part[group][position] for part in apart], axis=0)
            np.testing.assert_allclose(gradient, mean, rtol=1e-10, atol=1e-13)


class Recorder(keras.layers.Layer):
    """Scales its inputs by the context, and notes with what it was called."""

    def __init__(self):
        super().__init__()
        self.dense = keras.layers.Dense(3, activation="tanh")
        self.seen = []

    def build(self, inputs_shape, context_shape):
        self.dense.build(inputs_shape)

    def call(self, inputs, context=None, training=False):
        self.seen.append((inputs.shape[0], training, float(context)))
        return self.dense(inputs * context)


def test_the_context_reaches_every_forward_pass():
    extractor = Recorder()
    learner = Learner(extractor, keras.layers.Dense(3), input_shape=(2,), context=tf.constant(1.0))
    method = Method.of(learner, GradientDescent(PROBLEM, SGD(0.1), steps=2), [QueryLoss(PROBLEM)])
    episode = classification_episode(shots=2, queries=3)._replace(context=tf.constant(0.25))
    extractor.seen.clear()
    with_context, _ = evaluate_losses(method, episode)
    one_of_them = [(6, True, 0.25), (6, True, 0.25), (9, False, 0.25)]
    assert extractor.seen == one_of_them * 2
    scaled = tf.nest.map_structure(lambda t: 0.25 * t if t.dtype.is_floating else t, tuple(episode)[:2])
    same, _ = evaluate_losses(method, type(episode)(*scaled, tf.constant(1.0)))
    np.testing.assert_array_equal(with_context, same)

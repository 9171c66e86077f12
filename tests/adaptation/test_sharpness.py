"""Sharp-MAML: both gradients are taken where its equations say, and nothing is left behind."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from cml_tf.adaptation import SGD, GradientDescent, make_hypergradient
from cml_tf.adaptation.gradients import ascent
from cml_tf.experiments.loading import load
from cml_tf.learners import Parameters
from cml_tf.models.few_shot_model import FewShotModel
from cml_tf.readouts import read_through
from cml_tf.training.meta_gradient import evaluate_losses
from cml_tf.training.meta_step import MetaStep
from tests.helpers.contract_tables import PROBLEM, RATE, UPDATE_RULES, make_episode, make_method
from tests.helpers.differences import assert_same_gradients, gradients_of
from tests.helpers.seeded_episodes import one_task

RADIUS = 0.3


def sharp_method(rule="sgd", steps=1, sharpness=RADIUS):
    method = make_method(rule, "co_learner", steps=steps)
    method.rule.sharpness = sharpness
    return method


def losses(logits, targets):
    return -tf.reduce_mean(tf.gather(tf.nn.log_softmax(logits), targets, batch_dims=1))


def reference_loss(method, moves, parameters, values, task):
    """One inner step and the weighted outer loss, written down again, with the offset as a constant.

    Only the groups in `moves` are shifted and moved, and only their gradients make up the norm.
    """
    learner, state = method.learner, method.rule.initial(method.learner).state

    def support_gradient(at):
        with tf.GradientTape() as tape:
            tape.watch(tf.nest.flatten(at))
            outputs = learner.call(at, state, task.support.inputs, task.context, True).outputs
            loss = losses(outputs, task.support.targets)
        gradient = tape.gradient(loss, at)
        still = [group for group in Parameters._fields if group not in moves]
        return gradient._replace(**{group: tuple(map(tf.zeros_like, getattr(at, group))) for group in still})

    uphill = tf.nest.flatten(support_gradient(parameters))
    norm = np.sqrt(sum(np.sum(gradient.numpy() ** 2) for gradient in uphill))
    offsets = tf.nest.pack_sequence_as(parameters, [tf.constant(RADIUS * g.numpy() / norm) for g in uphill])
    gradient = support_gradient(tf.nest.map_structure(tf.add, parameters, offsets))
    adapted = tf.nest.map_structure(lambda start, move: start - RATE * move, parameters, gradient)
    forward = learner.call(adapted, state, task.query.inputs, task.context, False)
    pairs = zip(method.terms, values, strict=True)
    read = [(term.weight, term.read((forward.features, forward.outputs), own)) for term, own in pairs]
    return tf.add_n([weight * losses(outputs, task.query.targets) for weight, outputs in read])


@pytest.mark.parametrize(("rule", "hypergradient"), [("sgd", "reverse_rematerialised"), ("anil_sgd", "reverse")])
def test_inner_gradients_are_those_of_the_worst_point_of_what_moves(float64, rule, hypergradient):
    method, episode, moves = sharp_method(rule), make_episode(tasks=1), UPDATE_RULES[rule].moves
    method.rule.hypergradient = make_hypergradient(hypergradient)
    parameters, values = method.rule.initial(method.learner).parameters, method.term_values()
    with tf.GradientTape() as tape:
        tape.watch(tf.nest.flatten((parameters, values)))
        loss = reference_loss(method, moves, parameters, values, one_task(episode, 0))
    of_learner, of_terms = tape.gradient(loss, (parameters, values))
    expected = {"learner": tf.nest.flatten(of_learner), "co_learner": list(of_terms[1])}
    assert_same_gradients(gradients_of(method, episode), expected)
    plain = gradients_of(sharp_method(rule, sharpness=0.0), episode)["learner"]
    assert max(np.abs(a - b).max() for a, b in zip(plain, expected["learner"], strict=True)) > 1e-3


@pytest.mark.slow
def test_the_meta_gradient_is_that_of_the_worst_point(float64):
    method, episode = sharp_method("anil_meta_sgd", sharpness=0.0), make_episode()
    trained = method.trained_variables()
    variables = [variable for group in trained.values() for variable in group]
    start, uphill = (
        [v.numpy() for v in variables],
        [g for group in gradients_of(method, episode).values() for g in group],
    )
    norm = np.sqrt(sum(np.sum(np.square(gradient)) for gradient in uphill))
    for variable, gradient in zip(variables, uphill, strict=True):
        variable.assign_add(RADIUS * gradient / norm)
    expected = [np.array(g) for group in gradients_of(method, episode).values() for g in group]
    for variable, value in zip(variables, start, strict=True):
        variable.assign(value)
    optimizer = keras.optimizers.SGD(0.1)
    step = MetaStep(method, dict.fromkeys(trained, optimizer), sharpness=RADIUS, vectorised=False)
    result = step(episode)
    for variable, before, gradient in zip(variables, start, expected, strict=True):
        np.testing.assert_allclose(variable.numpy(), before - 0.1 * gradient, rtol=1e-10, atol=1e-11)
    for variable, value in zip(variables, start, strict=True):
        variable.assign(value)
    np.testing.assert_allclose(result.term_losses, evaluate_losses(method, episode)[0], rtol=1e-12)
    # A step of no length leaves no rounding either.
    optimizer.learning_rate = 0.0
    step(episode)
    assert step.traces == 1
    for variable, value in zip(variables, start, strict=True):
        np.testing.assert_array_equal(variable.numpy(), value)


def test_way_uphill():
    offsets = ascent({"a": tf.constant([3.0, 0.0]), "b": tf.constant([[4.0]])}, 0.5)
    np.testing.assert_allclose(offsets["a"], [0.3, 0.0], rtol=1e-6)
    np.testing.assert_allclose(offsets["b"], [[0.4]], rtol=1e-6)
    assert not ascent([tf.zeros(3)], 0.5)[0].numpy().any() and ascent([], 0.5) == []


def test_saved_models_and_readouts_keep_the_radius(tmp_path):
    method = sharp_method(steps=2)
    assert read_through(method, PROBLEM, "co_learner").rule.sharpness == RADIUS
    task = one_task(make_episode(), 0)
    model = FewShotModel(read_through(method, PROBLEM, "learner"), PROBLEM)
    expected = model.adapt(task.support.inputs.numpy(), task.support.targets.numpy()).predict(task.query.inputs.numpy())
    model.save(tmp_path)
    again = load(tmp_path)
    received = again.adapt(task.support.inputs.numpy(), task.support.targets.numpy()).predict(task.query.inputs.numpy())
    np.testing.assert_allclose(received, expected, rtol=1e-5, atol=1e-6)
    assert again.method.rule.sharpness == RADIUS


def test_a_negative_radius_is_refused():
    with pytest.raises(ValueError, match=r"0 \(none\) or a positive radius, received -1"):
        GradientDescent(PROBLEM, SGD(0.1), sharpness=-1.0)
    method = sharp_method()
    optimizers = dict.fromkeys(method.trained_variables(), keras.optimizers.SGD(0.1))
    with pytest.raises(ValueError, match=r"0 \(none\) or a positive radius, received -1"):
        MetaStep(method, optimizers, sharpness=-1.0)

"""The player's losses, and what a window differentiates."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from cml_tf.adaptation import SGD
from cml_tf.adaptation.updates import Gradients
from cml_tf.learners import Parameters
from cml_tf.objectives import trajectory_weights
from examples.snake.agent import Rollout, advantages, inner_loss, new_network, outer_loss, play
from examples.snake.game import DRAWS, start
from examples.snake.window import PlayerUpdates, RMSProp, run_window

SIDE, GAMES, STEPS, LIMIT = 2, 12, 4, 20
ONE_HOT = [trajectory_weights(3, "one_hot", step=step) for step in (1, 2, 3)]


def networks():
    generator = np.random.default_rng(0)
    made = [new_network(generator, SIDE**2, (3,), outputs) for outputs in (4, 1, 1)]
    # In float64, and with outputs that are not small.
    return [tuple(tf.cast(part, tf.float64) * 3 + 0.05 for part in own) for own in made]


def window_of(rule, slots=0.0):
    policy, critic, outer = networks()
    updates = PlayerUpdates(rule, 0.9, STEPS, LIMIT)
    board = start(tf.random.stateless_uniform([GAMES, DRAWS, SIDE**2], [1, 2]))
    first = updates.first(policy, critic, board, tf.constant([3, 4]))
    slots = tf.nest.map_structure(lambda slot: slot + slots, first.rule_state)
    return updates, first._replace(rule_state=slots), tf.constant(0.7, tf.float64), outer


def test_advantages_are_sums_of_discounted_errors_that_end_with_a_game():
    generator = np.random.default_rng(0)
    reward, values = generator.random((5, 3)), generator.random((6, 3))
    going = (generator.random((5, 3)) < 0.7).astype(float)
    found = advantages(Rollout(None, None, tf.constant(reward), tf.constant(going)), tf.constant(values), 0.8, 0.9)
    for step in range(5):
        for game in range(3):
            expected, factor = 0.0, 1.0
            for later in range(step, 5):
                bootstrap = 0.8 * going[later, game] * values[later + 1, game]
                expected += factor * (reward[later, game] + bootstrap - values[later, game])
                factor *= 0.8 * 0.9 * going[later, game]
            assert float(found[step, game]) == pytest.approx(expected)


def test_losses_see_what_they_should():
    policy, critic, outer = networks()
    rollout, _ = play(policy, start(tf.random.stateless_uniform([GAMES, DRAWS, 4], [1, 2])), [0, 1], STEPS, LIMIT)
    assert rollout.seen.shape == (STEPS + 1, GAMES, 4, 5) and 0 < tf.reduce_mean(rollout.going) < 1
    gamma = tf.constant(0.9, tf.float64)
    with tf.GradientTape() as tape:
        tape.watch([policy, critic, gamma])
        loss = inner_loss(policy, critic, rollout, gamma, 0.9)
    assert all(np.any(part != 0) for part in tape.gradient(loss, [policy[-1], critic[-1], gamma]))
    with tf.GradientTape() as tape:
        tape.watch([policy, outer])
        loss = outer_loss(policy, outer, rollout)
    assert tape.gradient(loss, outer) == (None,) * 4


def test_slots_and_updates_are_those_of_keras():
    values, gradients = np.array([1.0, -2.0, 3.0]), np.array([[0.5, -0.1, 0.0], [0.2, 0.3, 1e-4]])
    variable, optimizer = keras.Variable(values, dtype="float64"), keras.optimizers.RMSprop(0.1, 0.9, epsilon=1e-5)
    rule, place = RMSProp(0.1), Parameters((), (tf.constant(values),))
    state = rule.init(place, ())
    for gradient in gradients:
        optimizer.apply([tf.constant(gradient)], [variable])
        updates, state = rule.update(Gradients(Parameters((), (tf.constant(gradient),)), ()), state, place, ())
        place = tf.nest.map_structure(tf.add, place, updates)
        np.testing.assert_allclose(place.head[0], variable.numpy(), rtol=1e-6)


@pytest.mark.parametrize("rule", [SGD(0.5), RMSProp(0.05)], ids=["sgd", "rmsprop"])
def test_the_first_gradient_is_a_difference_quotient(rule):
    """What was played is held, as the gradient holds it; V is a constant of gamma where the player stands still."""
    updates, first, eta, outer = window_of(rule, 0.0 if isinstance(rule, SGD) else 0.01)
    found = run_window(updates, first, eta, outer, [[1.0]])

    def judged(eta):
        with tf.GradientTape() as tape:
            tape.watch(first.parameters)
            loss = inner_loss(*first.parameters, first.state.rollout, tf.sigmoid(eta), 0.9)
        gradients = Gradients(tape.gradient(loss, first.parameters), ())
        moved, _ = rule.update(gradients, first.rule_state, first.parameters, ())
        policy = tf.nest.map_structure(tf.add, first.parameters.extractor, moved.extractor)
        return float(outer_loss(policy, outer, found.path[1].state.rollout))

    expected = (judged(eta + 1e-5) - judged(eta - 1e-5)) / 2e-5
    assert abs(expected) > 1e-4 and float(found.gradients[0]) == pytest.approx(expected, rel=1e-5)


@pytest.mark.slow
def test_the_second_gradient_is_the_chain_rule_by_hand():
    updates, first, eta, outer = window_of(SGD(0.5))
    found = run_window(updates, first, eta, outer, [[0.0, 1.0]])

    def derivatives(iterate):
        """Of the inner gradient, as one vector: by the player, and by eta."""
        with tf.GradientTape(persistent=True) as outside:
            outside.watch([iterate.parameters, eta])
            with tf.GradientTape() as tape:
                tape.watch(iterate.parameters)
                loss = inner_loss(*iterate.parameters, iterate.state.rollout, tf.sigmoid(eta), 0.9)
            gradient = flat(tape.gradient(loss, iterate.parameters))
        by_player = outside.jacobian(gradient, tf.nest.flatten(iterate.parameters))
        by_player = np.concatenate([np.reshape(part, (len(gradient), -1)) for part in by_player], 1)
        return by_player, outside.jacobian(gradient, eta).numpy()

    (_, first_by_eta), (curvature, by_eta) = (derivatives(iterate) for iterate in found.path[:2])
    after_one = -0.5 * first_by_eta
    after_two = after_one - 0.5 * (curvature @ after_one + by_eta)
    last = found.path[2]
    with tf.GradientTape() as tape:
        tape.watch(last.parameters)
        loss = outer_loss(last.parameters.extractor, outer, last.state.rollout)
    zeros = tf.UnconnectedGradients.ZERO
    slope = flat(tape.gradient(loss, last.parameters, unconnected_gradients=zeros)).numpy()
    assert float(found.gradients[0]) == pytest.approx(slope @ after_two, rel=1e-9) and abs(slope @ after_two) > 1e-6


def flat(structure):
    return tf.concat([tf.reshape(part, [-1]) for part in tf.nest.flatten(structure)], 0)


def test_mixes_are_linear_and_a_step_alone_is_a_shorter_window():
    updates, first, eta, outer = window_of(RMSProp(0.05))
    kinds = [trajectory_weights(3, kind) for kind in ("uniform", "geometric")]
    found = [float(one) for one in run_window(updates, first, eta, outer, [*ONE_HOT, *kinds]).gradients]
    for weights, mixed in zip(kinds, found[3:], strict=True):
        assert mixed == pytest.approx(np.dot(weights, found[:3]), rel=1e-9)
    for steps in (1, 2, 3):
        alone = run_window(updates, first, eta, outer, [[0.0] * (steps - 1) + [1.0]]).gradients[0]
        assert float(alone) == pytest.approx(found[steps - 1], rel=1e-12) and abs(float(alone)) > 1e-8

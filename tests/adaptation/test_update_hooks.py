"""What an update rule may ask for: gradients where it put the parameters, and steps before the first one."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from cml_tf.adaptation import SGD, GradientDescent, Partition, RuleState, UpdateRule, anil
from cml_tf.adaptation.updates.partition import FrozenHead
from cml_tf.errors import UserError
from cml_tf.learners import Parameters, mlp
from cml_tf.objectives import QueryLoss
from cml_tf.problems import Regression
from cml_tf.training.method import Method
from tests.helpers.differences import assert_matches_central_differences
from tests.helpers.seeded_episodes import one_task, regression_episode

PROBLEM, RATE = Regression(1), 0.3


class Rescaled(UpdateRule):
    """Each step begins by giving the head's kernel a length that a context number says; the first moves that alone."""

    at_seen = True
    leading_steps = 1

    def build(self, parameters):
        if not self.meta_variables:
            self.meta_variables = (keras.Variable(0.7, dtype=keras.config.floatx(), name="length"),)

    def init(self, parameters, meta):
        return RuleState(adapted=meta[0], carried=tf.zeros([], tf.int32))

    def before_step(self, parameters, state, meta):
        kernel, *others = parameters.head
        return parameters._replace(head=(kernel * state.adapted / tf.norm(kernel), *others))

    def before_prediction(self, parameters, state, meta):
        return parameters

    def update(self, gradients, state, parameters, meta):
        seen = self.before_step(parameters, state, meta)
        counts = tf.cast(state.carried > 0, keras.config.floatx())
        updates = tf.nest.map_structure(
            lambda there, here, gradient: counts * (there - here - RATE * gradient),
            seen,
            parameters,
            gradients.parameters,
        )
        return updates, RuleState(state.adapted - gradients.adapted, state.carried + 1)


def explicit(kernel, bias, length, rows, targets, steps):
    """The same on a linear layer, written out."""

    def gradients(kernel, bias):
        left = 2 * (rows @ kernel + bias - targets) / len(rows)
        return rows.T @ left, left.sum(0)

    for step in range(steps + 1):
        seen = kernel * length / np.linalg.norm(kernel)
        of_kernel, of_bias = gradients(seen, bias)
        along = float((of_kernel * kernel).sum() / np.linalg.norm(kernel))
        if step:
            kernel, bias = seen - RATE * of_kernel, bias - RATE * of_bias
        length -= along
    return kernel, bias


@pytest.mark.parametrize("steps", [1, 3])
def test_gradients_are_those_where_the_rule_put_the_parameters(float64, steps):
    keras.utils.set_random_seed(0)
    method = Method.of(mlp(1, (2,)), GradientDescent(PROBLEM, anil(Rescaled()), steps), [QueryLoss(PROBLEM)])
    task = one_task(regression_episode(), 0)
    adapted = method.outcome(method.initial(), task).adapted
    initial = method.initial()
    forward = method.learner.call(initial.parameters, initial.state, task.support.inputs, (), False)
    start = [value.numpy() for value in initial.parameters.head]
    kernel, bias = explicit(*start, 0.7, forward.features.numpy(), task.support.targets.numpy(), steps)
    np.testing.assert_allclose(adapted.parameters.head[0], kernel, rtol=1e-10)
    np.testing.assert_allclose(adapted.parameters.head[1], bias, rtol=1e-10)
    assert len(adapted.path) == steps + 1


def test_meta_gradients_match_differences_and_no_step_is_none(float64):
    keras.utils.set_random_seed(0)
    method = Method.of(mlp(1, (2,), activation="tanh"), GradientDescent(PROBLEM, Rescaled(), 2), [QueryLoss(PROBLEM)])
    assert_matches_central_differences(method, regression_episode())
    unmoved = method.rule.with_steps(0).adapt(
        method.learner, method.initial(), one_task(regression_episode(), 0)[0], ()
    )
    tf.nest.map_structure(np.testing.assert_array_equal, unmoved.parameters, method.initial().parameters)


@pytest.mark.parametrize("wrapper", [Partition, FrozenHead])
def test_wrappers_hand_on_every_hook(wrapper):
    """A hook that a wrapper does not know would silently be the default."""
    hooks = {name for name in vars(UpdateRule) if not name.startswith("_")} - {"from_config"}
    assert hooks <= vars(wrapper).keys()


def test_rules_say_which_learners_they_cannot_move():
    class Picky(SGD):
        def check(self, learner):
            raise UserError("not this one")

    for rule in (Picky(0.1), anil(Picky(0.1)), FrozenHead(Picky(0.1), ((2, 1), (1,)))):
        with pytest.raises(UserError, match="not this one"):
            GradientDescent(PROBLEM, rule).build(mlp(1, (2,)))
    with pytest.raises(UserError, match="equally many leading steps"):
        GradientDescent(PROBLEM, Partition(SGD(0.1), Rescaled())).build(mlp(1, (2,)))
    assert anil(Rescaled()).moved(Parameters((1,), (2,))) == Parameters((), (2,))

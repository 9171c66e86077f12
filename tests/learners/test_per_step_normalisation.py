"""Normalisation with a scale and shift for every inner step: which one is taken when, and what the inner loop does."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from cml_tf.adaptation import SGD, GradientDescent
from cml_tf.experiments.loading import load
from cml_tf.learners import Learner, Normalisation
from cml_tf.models.few_shot_model import FewShotModel
from cml_tf.objectives import QueryLoss
from cml_tf.problems import Classification
from cml_tf.training.method import Method
from tests.helpers.models import CONV_SHAPE, randomise, smooth_conv
from tests.helpers.seeded_episodes import classification_episode, one_task

PROBLEM = Classification(3)
RATE = 0.3


def learner_and_names(steps):
    learner = smooth_conv(mode="per_step", steps=steps)
    return learner, [variable.name for variable in tf.nest.flatten(tuple(learner.variables))]


def outputs_with(row, names, parameters, inputs):
    """What a learner of one scale and one shift answers, being given those of a row, and else the same parameters."""
    single = smooth_conv()
    flat = tf.nest.flatten(tuple(parameters))
    own = [value[row] if name in ("scale", "shift") else value for name, value in zip(names, flat, strict=True)]
    start, state = single.initial()
    return single.call(tf.nest.pack_sequence_as(start, own), state, inputs, (), True).outputs


def images(count=6):
    return np.random.default_rng(3).standard_normal((count, *CONV_SHAPE))


def test_each_pass_over_a_support_set_takes_the_next_ones_and_predictions_the_last_ones(float64):
    learner, names = learner_and_names(3)
    parameters, state = learner.initial()
    for made in range(5):
        asked = learner.call(parameters, state, images(), (), training=False)
        expected = outputs_with(min(max(made - 1, 0), 2), names, parameters, images())
        np.testing.assert_array_equal(asked.outputs, expected)
        assert [int(count) for count in tf.nest.flatten(tuple(asked.state))] == [made], "asking is no step"
        shown = learner.call(parameters, state, images(), (), training=True)
        np.testing.assert_array_equal(shown.outputs, outputs_with(min(made, 2), names, parameters, images()))
        state = shown.state


def by_hand(names, parameters, support, steps, rows):
    """The inner loop by tapes; the parameters before the first step and after every one."""
    path = [parameters]
    for step in range(steps):
        flat = tf.nest.flatten(tuple(path[-1]))
        with tf.GradientTape() as tape:
            tape.watch(flat)
            outputs = outputs_with(min(step, rows - 1), names, path[-1], support.inputs)
            loss = tf.reduce_mean(PROBLEM.losses(outputs, support.targets))
        gradients = [tf.convert_to_tensor(gradient) for gradient in tape.gradient(loss, flat)]
        moved = [value - RATE * gradient for value, gradient in zip(flat, gradients, strict=True)]
        path.append(tf.nest.pack_sequence_as(parameters, moved))
    return path


@pytest.mark.parametrize("steps", [0, 1, 2, 4])
def test_the_inner_loop_is_the_one_by_hand(float64, steps):
    learner, names = learner_and_names(2)
    support = one_task(classification_episode(shape=CONV_SHAPE), 0).support
    rule = GradientDescent(PROBLEM, SGD(RATE), steps)
    rule.build(learner)
    adapted = rule.adapt(learner, rule.initial(learner), support, ())
    path = by_hand(names, learner.initial()[0], support, steps, rows=2)
    for made, (task, parameters) in enumerate(zip(adapted.path, path, strict=True)):
        expected = outputs_with(min(max(made - 1, 0), 1), names, parameters, images())
        np.testing.assert_allclose(task.predict(images())[1], expected, rtol=1e-10, atol=1e-12)


def test_a_saved_model_and_a_packed_task_keep_the_step(tmp_path):
    learner = smooth_conv(mode="per_step", steps=2)
    randomise(learner, 4)
    model = FewShotModel(Method(learner, GradientDescent(PROBLEM, SGD(RATE), 2), [QueryLoss(PROBLEM)]), PROBLEM)
    support, labels = images().astype(np.float32), np.arange(6) % 3
    expected = model.adapt(support, labels).predict(support)
    model.save(tmp_path / "model")
    again = load(tmp_path / "model")
    assert again.method.learner.extractor.layers[1].steps == 2
    np.testing.assert_allclose(again.adapt(support, labels).predict(support), expected, rtol=1e-5, atol=1e-6)
    packed = again.adapt(support, labels).packed()
    assert packed[-1] == 2.0, "the count of steps is the last that a packed task holds"


def test_layers_that_count_and_layers_whose_state_needs_a_pass_do_not_go_together():
    extractor = keras.Sequential([Normalisation("support", name="of_support"), Normalisation("per_step", name="steps")])
    with pytest.raises(ValueError, match="'steps' counts inner steps, and the state of 'of_support' asks for a pass"):
        Learner(extractor, keras.layers.Dense(2), input_shape=(3,))


@pytest.mark.parametrize(("mode", "steps"), [("per_step", 0), ("batch_transductive", 2), ("support", 2)])
def test_numbers_of_steps_that_a_mode_has_not_are_refused(mode, steps):
    with pytest.raises(ValueError, match=f"steps must be 1, or more in mode per_step, received {steps} in mode {mode}"):
        Normalisation(mode, steps=steps)

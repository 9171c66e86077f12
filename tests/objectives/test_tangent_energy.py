"""The tangent energy: its numbers, its identities with MAML and with the kernel, both forms, and the warning."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import keras
import numpy as np
import pytest
import tensorflow as tf

import cml_tf
from cml_tf.adaptation import SGD, GradientDescent, make_hypergradient
from cml_tf.episodes import Episode, Examples
from cml_tf.errors import UserError
from cml_tf.learners import Learner, TwoHeads
from cml_tf.objectives import QueryLoss, TangentEnergy
from cml_tf.problems import Classification, Regression
from cml_tf.training.meta_gradient import evaluate_losses
from cml_tf.training.method import Method
from cml_tf.training.trainer import Trainer
from tests.helpers.contract_tables import make_episode
from tests.helpers.differences import assert_matches_central_differences, assert_same_gradients, gradients_of
from tests.helpers.models import embedding, smooth_mlp
from tests.helpers.seeded_episodes import classification_episode, one_task, regression_episode

LINE, CLASSES, RATE = Regression(1), Classification(3), 0.3


@dataclass(frozen=True)
class HalfSquares(Regression):
    """Half the squared error, as in the equations of the paper."""

    def losses(self, outputs, targets):
        return super().losses(outputs, targets) / 2


HALF = HalfSquares(1)


def energy_of(problem=LINE, learner=None, steps=0, **options):
    learner = learner or smooth_mlp(problem.outputs)
    rule = GradientDescent(problem, SGD(RATE), steps, make_hypergradient("first_order"))
    return Method.of(learner, rule, [TangentEnergy(problem, **{"rate": RATE, **options})])


def maml(learner, problem=LINE):
    return Method.of(learner, GradientDescent(problem, SGD(RATE), 1), [QueryLoss(problem)])


def linear(inputs=2):
    """A learner whose squared loss is a quadratic of its parameters."""
    return Learner(keras.layers.Identity(), keras.layers.Dense(1), input_shape=(inputs,))


def both_alike(episode):
    """The support set as queries too."""
    return episode._replace(query=episode.support)


def value(method, episode):
    return evaluate_losses(method, episode)[0].numpy()[:, 0]


def gradient_of(learner, examples, problem, product_with_hessian=False):
    """Of the mean loss, by all parameters as one vector; and the Hessian along it."""
    flat = [tf.convert_to_tensor(variable) for variable in tf.nest.flatten(tuple(learner.variables))]
    with tf.GradientTape() as outer:
        outer.watch(flat)
        with tf.GradientTape() as tape:
            tape.watch(flat)
            parameters = tf.nest.pack_sequence_as(tuple(learner.variables), flat)
            made = learner.call(type(learner.variables)(*parameters), learner.initial()[1], examples.inputs, (), False)
            loss = tf.reduce_mean(problem.losses(made.outputs, examples.targets))
        gradient = tape.gradient(loss, flat)
    found = [gradient, outer.gradient(gradient, flat, gradient) if product_with_hessian else []]
    return [np.concatenate([np.ravel(part) for part in parts] or [[]]) for parts in found]


# ---- numbers and identities


@pytest.mark.parametrize("form", ["cross", "norm"])
def test_one_parameter(float64, form):
    """Of L = (theta - y)^2 / 2 at rate 1/4: (1/2 - 1/4) r^2."""
    head = keras.layers.Dense(1, use_bias=False, kernel_initializer="ones")
    learner = Learner(keras.layers.Identity(), head, input_shape=(1,))
    ones = tf.ones([1, 1, 1], tf.float64)
    episode = both_alike(Episode(Examples(ones, 3 * ones), Examples(ones, ones)))
    for rate, expected in ((0.25, 0.25), (0.5, 0.0), (0.1, 0.4)):
        method = energy_of(HALF, learner, rate=rate, form=form)
        np.testing.assert_allclose(value(method, episode), [expected * 4], rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("form", ["cross", "norm"])
def test_a_step_of_maml_differs_by_the_curvature_along_the_gradient(float64, form):
    """With one batch and a quadratic loss, exactly: alpha^2 / 2 g^T H g."""
    learner, episode = linear(), both_alike(regression_episode())
    differences = value(maml(learner), episode) - value(energy_of(LINE, learner, form=form), episode)
    for task in range(2):
        gradient, bent = gradient_of(learner, one_task(episode, task).support, LINE, product_with_hessian=True)
        np.testing.assert_allclose(differences[task], RATE**2 / 2 * gradient @ bent, rtol=1e-10)
        assert abs(differences[task]) > 1e-3


@pytest.mark.parametrize(("problem", "factor"), [(HALF, 1.0), (LINE, 4.0)])
def test_the_norm_is_the_length_of_the_residuals_in_the_kernel(float64, problem, factor):
    """r^T Theta r / n^2 for the mean of half squares; without the half four times that."""
    learner, episode = smooth_mlp(1), both_alike(regression_episode())
    _, metrics = evaluate_losses(energy_of(problem, learner, form="norm"), episode)
    for number in range(2):
        task = one_task(episode, number).support
        parameters, state = learner.initial()
        flat = tf.nest.flatten(tuple(parameters))
        with tf.GradientTape(persistent=True) as tape:
            tape.watch(flat)
            outputs = learner.call(parameters, state, task.inputs, (), False).outputs
            singles = tf.unstack(tf.squeeze(outputs, 1))
        rows = np.array([np.concatenate([np.ravel(part) for part in tape.gradient(one, flat)]) for one in singles])
        residuals = (outputs - task.targets).numpy()[:, 0]
        expected = factor * residuals @ (rows @ rows.T) @ residuals / len(residuals) ** 2
        np.testing.assert_allclose(metrics["energy"][number], expected, rtol=1e-10)


@pytest.mark.parametrize("form", ["cross", "norm"])
def test_the_forms_are_what_they_say(float64, form):
    """On support sets and queries of different sizes."""
    learner, episode = smooth_mlp(1), regression_episode(shots=3, queries=6)
    received, metrics = evaluate_losses(energy_of(LINE, learner, form=form), episode)
    for number in range(2):
        task = one_task(episode, number)
        together = Examples(*(tf.concat(pair, 0) for pair in zip(task.support[:2], task.query[:2], strict=True)))
        support, query, joint = (gradient_of(learner, part, LINE)[0] for part in (task.support, task.query, together))
        energy = support @ query if form == "cross" else joint @ joint
        outputs = learner.call(*learner.initial(), together.inputs, (), False).outputs
        loss = float(tf.reduce_mean(LINE.losses(outputs, together.targets)))
        np.testing.assert_allclose(metrics["energy"][number], energy, rtol=1e-10)
        np.testing.assert_allclose(received[number, 0], loss - RATE * energy, rtol=1e-10)
        np.testing.assert_array_equal(metrics["tangent_loss"], received[:, 0])


def test_the_cross_form_is_unbiased_and_the_norm_is_not(float64):
    """Over draws of support set and queries from noise of unit variance, around a learner that says 0."""
    learner = linear(1)
    for variable in tf.nest.flatten(tuple(learner.variables)):
        variable.assign(tf.zeros_like(variable))
    generator, tasks, count = np.random.default_rng(0), 4000, 2
    ones = tf.ones([tasks, count, 1], tf.float64)
    parts = [Examples(ones, tf.constant(1 + generator.standard_normal((tasks, count, 1)))) for _ in range(2)]
    found = {}
    for form in ("cross", "norm"):
        energies = tf.function(
            lambda form=form: evaluate_losses(energy_of(LINE, learner, form=form), Episode(*parts)), autograph=False
        )
        found[form] = float(np.mean(energies()[1]["energy"]))
    # The gradient of mean (f - y)^2 by weight and bias is -2 mean y each, of mean -2: 8 together. The variance of the
    # mean of four adds 2 * 4 / 4.
    np.testing.assert_allclose(found["cross"], 8.0, atol=0.4)
    np.testing.assert_allclose(found["norm"], 10.0, atol=0.4)


# ---- the whole gradient


@pytest.mark.parametrize("form", ["cross", "norm"])
def test_the_whole_gradient_whatever_adaptation_does(float64, form):
    """Inner steps are for what is reported alone."""
    episode, method = classification_episode(tasks=1), energy_of(CLASSES, steps=2, form=form)
    gradients = gradients_of(method, episode)
    assert_matches_central_differences(method, episode, gradients)
    assert_same_gradients(gradients, gradients_of(energy_of(CLASSES, form=form), episode), tolerance=0)


def test_the_whole_gradient_through_tables_and_of_two_heads(float64):
    assert_matches_central_differences(energy_of(CLASSES, embedding()), make_episode("embedding", tasks=1))
    heads = TwoHeads(keras.layers.Dense(3), keras.layers.Dense(3))
    learner = Learner(keras.layers.Dense(4, activation="tanh"), heads, input_shape=(2,))
    assert_matches_central_differences(energy_of(CLASSES, learner), classification_episode(tasks=1))


# ---- the warning


def trained(rate, caplog, steps=3):
    """What is told while a net of one parameter trains on L = (theta - y)^2 / 2."""
    learner = Learner(keras.layers.Identity(), keras.layers.Dense(1, use_bias=False), input_shape=(1,))
    ones = tf.ones([2, 1, 1])
    episode = both_alike(Episode(Examples(ones, 3 * ones), Examples(ones, ones)))
    method = energy_of(LINE, learner, rate=rate)
    with caplog.at_level(logging.WARNING):
        history = Trainer(learner, method.rule, method.terms, LINE).fit([episode] * steps, steps=steps, verbose=0)
    own = [record for record in caplog.records if record.name == TangentEnergy.__module__]
    return [record.getMessage() for record in own], history


@pytest.mark.parametrize(("rate", "warns"), [(0.24, False), (0.26, True)])
def test_it_warns_once_where_there_is_no_lower_bound(caplog, rate, warns):
    """The mean of whole squares has its bound at alpha lambda_max / n = 1/4."""
    told, history = trained(rate, caplog)
    assert len(told) == warns
    assert (history["tangent_loss"][-1] < 0) == warns
    if warns:
        assert "below 0" in told[0] and "Lower its rate (objective.energy_rate), received 0.26" in told[0]


def test_a_weight_that_falls_to_nothing_ends_its_part_and_not_the_training():
    method = energy_of()
    energy = TangentEnergy(LINE, weight=lambda step: 0.0 if step else 1.0)
    terms = [QueryLoss(LINE), energy]
    trainer = Trainer(method.learner, method.rule, terms, LINE)
    history = trainer.fit([regression_episode()] * 2, steps=2, validate_every=1, verbose=0)
    assert trainer.step == 2 and len(history["loss"]) == 2


def test_a_notebook_trains_it_and_validation_leaves_the_energy_out():
    model = cml_tf.FewShot(
        cml_tf.mlp(hidden=(4,)), cml_tf.method_of("tangent_energy", "first_order", rate=0.01), shots=3
    )
    history = model.fit(cml_tf.datasets.load("sinusoid"), steps=2, validate_every=2, verbose=0)
    assert {"mse", "energy", "tangent_loss", "val_mse"} <= history.keys() and "val_energy" not in history


# ---- refusals


def test_what_it_cannot_do_is_refused():
    for rate in (0.0, -0.1, float("inf"), float("nan")):
        with pytest.raises(UserError, match=f"rate must be positive, received {rate}"):
            TangentEnergy(LINE, rate=rate)
    with pytest.raises(UserError, match="form must be one of cross, norm, received 'half'"):
        TangentEnergy(LINE, form="half")
    layers = [keras.layers.Dense(4), keras.layers.LayerNormalization()]
    learner = Learner(keras.Sequential(layers), keras.layers.Dense(3), input_shape=(2,))
    with pytest.raises(ValueError, match="wrong second derivative"):
        TangentEnergy(CLASSES).build(learner)

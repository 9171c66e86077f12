"""Modes of normalisation beside their formulas in NumPy; what each says of itself; who refuses which."""

from __future__ import annotations

import functools
import json

import keras
import numpy as np
import pytest
import tensorflow as tf

import cml_tf
from cml_tf.adaptation import SGD, GradientDescent, make_hypergradient
from cml_tf.adaptation.single_queries import SingleQueries
from cml_tf.episodes import Examples
from cml_tf.experiments.configuration import config_from_json, default_config
from cml_tf.experiments.loading import load as load_model
from cml_tf.learners import Convolution, Learner, Normalisation, ResidualBlock, conv4, gcn, mlp, resnet12
from cml_tf.learners.learner import Parameters
from cml_tf.learners.normalisation.mode import MODES
from cml_tf.models.few_shot_model import FewShotModel
from cml_tf.objectives import QueryLoss
from cml_tf.problems import Classification
from cml_tf.registry import Choice
from cml_tf.training.meta_gradient import meta_gradient
from cml_tf.training.method import Method
from tests.helpers.contract_tables import make_episode, make_method
from tests.helpers.differences import assert_matches_central_differences, assert_same_gradients, gradients_of
from tests.helpers.models import CONV_SHAPE, randomise, smooth_conv
from tests.helpers.nodes import FEATURES, WAYS, node_episode
from tests.helpers.programs import ROOT
from tests.helpers.seeded_episodes import classification_episode, one_task
from tests.helpers.small_configs import load

PROBLEM = Classification(3)
EPSILON = 0.01
RANDOM = np.random.default_rng(0)
SUPPORT, QUERIES = (RANDOM.normal(3.0, 2.0, (count, 5, 6, 4)) for count in (6, 3))
SCALE, SHIFT = np.array([0.5, -2.0, 1.5, -0.3]), np.array([0.1, -0.3, 0.7, 0.2])
SLOPE, OFFSET = 0.3, -1.1


def made(mode, shape=SUPPORT.shape, **options):
    layer = Normalisation(mode, epsilon=EPSILON, groups=2, **options)
    layer.build((None, *shape[1:]))
    for name, value in (("scale", SCALE), ("shift", SHIFT), ("slope", SLOPE), ("offset", OFFSET)):
        if hasattr(layer, name):
            variable = getattr(layer, name)
            variable.assign(np.broadcast_to(value, variable.shape))
    return layer


def moments_of(maps, axes):
    mean = maps.mean(axes, keepdims=True)
    return mean, ((maps - mean) ** 2).mean(axes, keepdims=True)


def by_example(maps, groups):
    parts = [moments_of(part, tuple(range(1, maps.ndim))) for part in np.split(maps, groups, axis=-1)]
    return [np.repeat(np.concatenate(both, -1), maps.shape[-1] // groups, -1) for both in zip(*parts, strict=True)]


def by_blend(maps, support=SUPPORT):
    alpha = 1 / (1 + np.exp(-(SLOPE * len(support) + OFFSET)))
    (of_all, spread), (of_one, own) = moments_of(support, (0, 1, 2)), moments_of(maps, (1, 2))
    mean = alpha * of_all + (1 - alpha) * of_one
    variance = alpha * (spread + (of_all - mean) ** 2) + (1 - alpha) * (own + (of_one - mean) ** 2)
    return mean, variance


def normalised(maps, mean, variance):
    return (maps - mean) / np.sqrt(variance + EPSILON) * SCALE + SHIFT


EXPECTED = {
    "tasknorm": lambda maps: normalised(maps, *by_blend(maps)),
    "group": lambda maps: normalised(maps, *by_example(maps, 2)),
    "layer": lambda maps: normalised(maps, *by_example(maps, 1)),
    "support": lambda maps: normalised(maps, *moments_of(SUPPORT, (0, 1, 2))),
    "none": lambda maps: maps,
}


@pytest.mark.parametrize("mode", EXPECTED)
@pytest.mark.parametrize("pool", [1, 2])
def test_outputs_are_the_formula(float64, mode, pool):
    layer = made(mode, relu=True, pool=pool)
    for maps, training in ((SUPPORT, True), (QUERIES, False), (QUERIES[:1], False)):
        expected = np.maximum(EXPECTED[mode](maps), 0)
        if pool == 2:
            expected = expected[:, :4].reshape(len(maps), 2, 2, 3, 2, 4).max((2, 4))
        np.testing.assert_allclose(layer(maps, training=training), expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("mode", ["group", "layer"])
def test_vectors_and_series_have_statistics_of_their_own_too(float64, mode):
    for shape in ((7, 4), (7, 5, 4)):
        maps = RANDOM.normal(size=shape)
        np.testing.assert_allclose(made(mode, shape)(maps), EXPECTED[mode](maps), rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("mode", [name for name in MODES if name != "none"])
def test_half_precision_takes_its_statistics_in_float32(mode):
    maps = tf.cast(SUPPORT + 40.0, tf.bfloat16)
    half, whole = (made(mode, dtype=dtype) for dtype in ("mixed_bfloat16", "float32"))
    received = half(maps, training=True)
    assert received.dtype == tf.bfloat16
    np.testing.assert_allclose(
        tf.cast(received, tf.float32), whole(tf.cast(maps, tf.float32), training=True), atol=3e-2
    )


def pooled_method(mode):
    """Pooled maps, ReLU and scales of both signs, which the smooth nets of the contract tables do not have."""
    norm = Normalisation(mode, steps=STEPS[mode], groups=2, relu=True, pool=2)
    head = keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(3)])
    learner = Learner(keras.Sequential([Convolution(4, 3), norm]), head, input_shape=CONV_SHAPE)
    randomise(learner, 3)
    return Method.of(learner, GradientDescent(PROBLEM, SGD(0.1), STEPS[mode]), [QueryLoss(PROBLEM)])


# One step, unless steps are counted.
STEPS = {name: 2 if mode.counts_steps else 1 for name, mode in MODES.items()}
EPISODE = functools.partial(classification_episode, seed=2, queries=1, tasks=1, shape=CONV_SHAPE)


def answers(method, support, queries, rule=None):
    initial = method.rule.initial(method.learner)
    return (rule or method.rule).adapt(method.learner, initial, support, ()).predict(queries)[1]


# In float32 other kernels take the moments of a batch; those of single examples are the same operations.
@pytest.mark.parametrize("mode", ["batch_transductive", "support", "tasknorm"])
def test_in_everyday_precision_a_query_alone_is_answered_as_among_others(mode):
    task, method = one_task(EPISODE(), 0), pooled_method(mode)
    together = answers(method, task.support, task.query.inputs)
    alone = answers(method, task.support, task.query.inputs, SingleQueries(method.rule))
    assert np.allclose(alone, together, rtol=1e-5, atol=1e-5) != MODES[mode].joins_queries


@pytest.mark.parametrize("mode", MODES)
def test_a_query_alone_is_answered_as_among_others_unless_the_mode_says_no(float64, mode):
    """And the order of the support set is of no account."""
    task, method = one_task(EPISODE(), 0), pooled_method(mode)
    together = answers(method, task.support, task.query.inputs)
    alone = answers(method, task.support, task.query.inputs, SingleQueries(method.rule))
    np.testing.assert_array_equal(alone[1], answers(method, task.support, task.query.inputs[1:2])[0])
    if MODES[mode].joins_queries:
        assert np.abs(together - alone).max() > 1e-2
    else:
        np.testing.assert_allclose(alone, together, rtol=1e-10)
    order = np.random.default_rng(1).permutation(len(task.support.targets))
    shuffled = Examples(*(tf.gather(part, order) for part in task.support[:2]))
    np.testing.assert_allclose(answers(method, shuffled, task.query.inputs), together, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("mode", ["tasknorm", "group", "support"])
def test_meta_gradient_through_pooled_maps(float64, mode):
    assert_matches_central_differences(pooled_method(mode), EPISODE(), seed=3)


# ---- weights that the outer loop alone learns


BLEND = ("slope", "offset")


def blend_of(learner, values):
    names = [variable.name for variable in tf.nest.flatten(tuple(learner.variables))]
    return [value for name, value in zip(names, tf.nest.flatten(tuple(values)), strict=True) if name in BLEND]


def test_no_step_moves_a_blend_and_the_outer_loop_does(float64):
    method = make_method("meta_sgd", learner="tasknorm_normalisation")
    episode = make_episode("tasknorm_normalisation", tasks=1)
    method.rule.sharpness = 0.1
    learner, initial = method.learner, method.rule.initial(method.learner)
    adapted = method.rule.adapt(learner, initial, one_task(episode, 0).support, ()).parameters
    for before, after in zip(blend_of(learner, initial.parameters), blend_of(learner, adapted), strict=True):
        np.testing.assert_array_equal(before, after)
    flat = [tf.nest.flatten(tuple(parameters)) for parameters in (initial.parameters, adapted)]
    assert sum(np.any(one != other) for one, other in zip(*flat, strict=True)) >= len(learner.variables.extractor) - 2
    gradients = meta_gradient(method, episode, method.weights()).gradients["learner"]
    groups = Parameters(*(tuple(gradients[i] for i in part) for part in positions(learner)))
    assert all(np.abs(gradient) > 1e-6 for gradient in blend_of(learner, groups))


def positions(learner):
    extractor = len(learner.variables.extractor)
    return range(extractor), range(extractor, extractor + len(learner.variables.head))


def test_differences_of_inner_gradients_leave_a_blend_at_rest(float64):
    method, episode = make_method(learner="tasknorm_normalisation"), make_episode("tasknorm_normalisation", tasks=1)
    expected = gradients_of(method, episode)
    method.rule.hypergradient = make_hypergradient("finite_difference", radius=1e-4)
    assert_same_gradients(gradients_of(method, episode), expected, tolerance=1e-5)


# ---- what is kept


# Those that keep a number of a task besides moments: the steps made, and the size of the support set.
@pytest.mark.parametrize(("mode", "last"), [("per_step", 2.0), ("tasknorm", 6.0)])
def test_a_saved_model_answers_as_before(tmp_path, mode, last):
    learner = smooth_conv(mode=mode, steps=STEPS[mode])
    randomise(learner, 4)
    model = FewShotModel(Method.of(learner, GradientDescent(PROBLEM, SGD(0.3), 2), [QueryLoss(PROBLEM)]), PROBLEM)
    support, labels = np.random.default_rng(3).standard_normal((6, *CONV_SHAPE)).astype(np.float32), np.arange(6) % 3
    expected = model.adapt(support, labels).predict(support)
    model.save(tmp_path / "model")
    task = load_model(tmp_path / "model").adapt(support, labels)
    np.testing.assert_allclose(task.predict(support), expected, rtol=1e-5, atol=1e-6)
    assert task.packed()[-1] == last


def test_what_was_saved_before_there_were_groups_is_read():
    for layer in (Normalisation("support"), ResidualBlock(2, "support")):
        config = layer.get_config()
        del config["groups"]
        assert type(layer).from_config(config).get_config() == layer.get_config()
    convolutions = gcn(2, FEATURES).extractor
    config = convolutions.get_config()
    for name in ("normalisation", "steps", "groups"):
        del config[name]
    assert type(convolutions).from_config(config).get_config() == convolutions.get_config()


def test_a_configuration_of_before_had_the_key_everywhere_and_nodes_no_normalisation():
    lines = (ROOT / "tests/experiments/data/configurations_of_0_1.jsonl").read_text("utf-8").splitlines()
    configs = [json.loads(line)["config"] for line in lines]

    def line(learner):
        return json.dumps(next(config for config in configs if config["learner"]["name"] == learner))

    modes = {name: config_from_json(line(name)).learner.normalisation for name in ("conv4", "gcn", "mlp")}
    assert modes == {"conv4": "batch_transductive", "gcn": "none", "mlp": "none"}


# ---- learners


def test_without_normalisation_biases_are_added_and_adapt():
    for make in (conv4, resnet12):
        learner = make(3, (16, 16, 1), filters=2, normalisation="none")
        biases = [variable for variable in learner.variables.extractor if variable.name == "bias"]
        assert biases and not [v for v in learner.variables.extractor if v.name in ("scale", "shift")]
        parameters, state = learner.initial()
        images = np.random.default_rng(0).standard_normal((2, 16, 16, 1)).astype(np.float32)
        before = learner.call(parameters, state, images, (), True).features
        biases[0].assign(biases[0] + 1.0)
        assert np.abs(learner.call(learner.initial()[0], state, images, (), True).features - before).max() > 1e-3


@pytest.mark.parametrize("mode", ["batch_transductive", "support", "per_step", "group"])
def test_nodes_are_normalised_before_each_relu_and_differentiate(float64, mode):
    learner = gcn(WAYS, FEATURES, (6, 4), normalisation=mode, steps=STEPS[mode], groups=2)
    randomise(learner, 0)
    method = Method.of(learner, GradientDescent(PROBLEM, SGD(0.3), STEPS[mode]), [QueryLoss(PROBLEM)])
    episode = node_episode(tasks=1)
    assert_matches_central_differences(method, episode)
    task = one_task(episode._replace(context=()), 0)._replace(context=episode.context)
    adapted = method.rule.adapt(learner, method.rule.initial(learner), task.support, task.context)
    together = adapted.predict(task.query.inputs)[1]
    alone = adapted.predict(task.query.inputs[:1])[1]
    assert (np.abs(together[:1] - alone).max() > 1e-6) == MODES[mode].joins_queries


def test_a_perceptron_is_normalised_before_each_activation():
    layers = [type(layer).__name__ for layer in mlp(1, (1,), (8, 8), normalisation="layer").extractor.layers]
    assert layers == ["Linear", "Normalisation", "Activation"] * 2


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: conv4(3, (16, 16, 1), 6, "group", groups=4), "groups must divide the 6 channels .* received 4"),
        (lambda: Normalisation("group", groups=0), "groups must be at least 1, received 0"),
        (lambda: gcn(2, FEATURES, normalisation="tasknorm"), "over the pixels of an example, received inputs"),
    ],
)
def test_layers_that_cannot_be_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("mode", MODES)
def test_a_co_learner_that_never_sees_a_support_set_keeps_nothing_of_one(mode):
    layer = cml_tf.conv4(filters=8, normalisation=mode).co_learner(PROBLEM, 1).layers[1]
    assert layer.mode == ("batch_transductive" if MODES[mode].threads_state else mode) and not layer.threads_state


def test_maml_plus_plus_leaves_a_learner_without_normalisation_alone():
    assert load("sinusoid", "maml,maml_plus_plus").learner.normalisation == "none"
    assert default_config(Choice("sinusoid")).learner.normalisation == "none"

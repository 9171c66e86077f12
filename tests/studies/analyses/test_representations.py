"""Representations are what the layers make of the queries under a task's own parameters; how alike two are; planes."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from cml_tf.adaptation import SGD, GradientDescent
from cml_tf.learners import Learner, conv4
from cml_tf.problems import Classification
from cml_tf.studies.analyses.representations import FEWEST, linear_cka, plane_of, representations
from tests.helpers.models import MLP_SHAPE, smooth_mlp, two_headed
from tests.helpers.nodes import WAYS, node_episode, random_gcn, random_sgc
from tests.helpers.seeded_episodes import classification_episode, one_task


def path_of(learner, task, ways=3, steps=2):
    rule = GradientDescent(Classification(ways), SGD(0.3), steps)
    return rule.adapt(learner, rule.initial(learner), task.support, task.context).path


def test_perceptrons_by_hand_before_and_after_adaptation(float64):
    task = one_task(classification_episode(shape=MLP_SHAPE), 0)
    for place in path_of(smooth_mlp(), task)[::2]:
        first, first_bias, second, second_bias = place.parameters.extractor
        one = np.tanh(task.query.inputs @ first + first_bias)
        two = np.tanh(one @ second + second_bias)
        kernel, bias = place.parameters.head
        expected = {"dense 1": one, "dense 2": two, "head": two @ kernel + bias}
        found = representations(place, task.query.inputs)
        assert list(found) == list(expected)
        for name, value in expected.items():
            np.testing.assert_allclose(found[name], value, rtol=1e-12)
    place = path_of(two_headed(smooth_mlp()), task)[-1]
    first, _ = place.predict(task.query.inputs)[1]
    np.testing.assert_allclose(representations(place, task.query.inputs)["head"], first, rtol=1e-12)


@pytest.mark.parametrize("normalisation", ["batch_transductive", "support"])
def test_blocks_of_conv4_are_taken_after_normalisation_and_pool(normalisation):
    learner = conv4(3, (16, 16, 1), filters=2, normalisation=normalisation)
    task = one_task(classification_episode(shape=(16, 16, 1)), 0)
    before, after = path_of(learner, task, steps=1)
    found = representations(after, task.query.inputs)
    assert list(found) == [*(f"convolution {number}" for number in range(1, 5)), "head"]
    assert [value.shape[1] for value in found.values()] == [8, 4, 2, 2, 3]
    features, outputs = after.predict(task.query.inputs)
    np.testing.assert_allclose(found["convolution 4"], features, atol=1e-6)
    np.testing.assert_allclose(found["head"], outputs, atol=1e-5)
    assert all(np.min(found[name]) >= 0 for name in list(found)[:-1])
    assert np.abs(found["convolution 1"] - representations(before, task.query.inputs)["convolution 1"]).max() > 1e-4


@pytest.mark.parametrize("make", [random_gcn, random_sgc, lambda: random_gcn("prototypes", matching=True)])
def test_learners_of_nodes(float64, make):
    learner = make()
    task = one_task(node_episode(), 0)
    after = path_of(learner, task, WAYS, steps=1)[-1]
    *layers, head = representations(after, task.query.inputs).values()
    features, outputs = after.predict(task.query.inputs)
    np.testing.assert_allclose(layers[-1], features, rtol=1e-12)
    np.testing.assert_allclose(head, outputs, rtol=1e-12)
    assert len(layers) == 1 or np.min(layers[0]) == 0.0, "the first of two hands on what its ReLU lets through"


def test_other_extractors_show_their_output_alone(float64):
    task = one_task(classification_episode(shape=MLP_SHAPE), 0)
    inputs = keras.Input(MLP_SHAPE)
    hidden = keras.layers.Dense(3, activation="tanh")(inputs)
    extractor = keras.Model(inputs, keras.layers.Add()([hidden, keras.layers.Dense(3)(hidden)]))
    place = path_of(Learner(extractor, keras.layers.Dense(3), input_shape=MLP_SHAPE), task)[-1]
    found = representations(place, task.query.inputs)
    assert list(found) == ["features", "head"]
    np.testing.assert_allclose(found["features"], place.predict(task.query.inputs)[0], rtol=1e-6)


# How alike two representations are: more examples than numbers and fewer, the two forms of the same number.
WIDTHS = [(3, 4), (3, 40), (40, 50)]
EXAMPLES = 12


def pair(widths):
    """Two representations that have something in common."""
    generator = np.random.default_rng(0)
    common = generator.standard_normal((EXAMPLES, 2))
    return [
        common @ generator.standard_normal((2, width)) + 0.5 * generator.standard_normal((EXAMPLES, width)) + 3.0
        for width in widths
    ]


def by_definition(left, right):
    """HSIC(K, L) / sqrt(HSIC(K, K) HSIC(L, L)) with HSIC(K, L) = tr(K H L H), but for a factor (equations 3 and 4)."""
    centring = np.eye(EXAMPLES) - np.ones((EXAMPLES, EXAMPLES)) / EXAMPLES

    def criterion(one, other):
        return np.trace(one @ one.T @ centring @ other @ other.T @ centring)

    return criterion(left, right) / np.sqrt(criterion(left, left) * criterion(right, right))


@pytest.mark.parametrize("widths", WIDTHS)
def test_linear_cka_is_its_definition_which_rotations_scale_and_shift_do_not_change(widths):
    left, right = pair(widths)
    expected = by_definition(left, right)
    assert 0.05 < expected < 0.99
    assert linear_cka(left, right) == pytest.approx(expected, rel=1e-10)
    assert linear_cka(right, left) == pytest.approx(expected, rel=1e-10)
    rotation, _ = np.linalg.qr(np.random.default_rng(1).standard_normal((right.shape[1],) * 2))
    assert linear_cka(left, -7.0 * right @ rotation + np.arange(right.shape[1])) == pytest.approx(expected, rel=1e-9)
    assert abs(linear_cka(left, right * np.geomspace(1.0, 100.0, right.shape[1])) - expected) > 1e-3


def test_linear_cka_of_maps_of_half_precision_and_of_nothing():
    left, right = pair((12, 12))
    assert linear_cka(left.reshape(EXAMPLES, 2, 2, 3), right) == linear_cka(left, right)
    large = (1e4 * left).astype(np.float16)
    assert linear_cka(large, large) == pytest.approx(1.0)
    assert np.isnan(linear_cka(left, np.full((EXAMPLES, 3), 0.1)))
    for one, other in ((3, 4), (1, 1)):
        with pytest.raises(ValueError, match=f"received {one} and {other}"):
            linear_cka(np.ones((one, 2)), np.ones((other, 2)))


def clusters():
    generator = np.random.default_rng(0)
    centres = 20.0 * generator.standard_normal((3, 2, 2, 4))
    return np.concatenate([centre + generator.standard_normal((8, 2, 2, 4)) for centre in centres])


def test_in_a_plane_clusters_stay_clusters_and_numbers_the_same():
    points = plane_of(clusters())
    groups = points.reshape(3, 8, 2)
    middles = groups.mean(1)
    within = np.linalg.norm(groups - middles[:, None], axis=-1).max()
    assert min(np.linalg.norm(middles[i] - middles[j]) for i in range(3) for j in range(i)) > 2 * within
    np.testing.assert_array_equal(points, plane_of(clusters()))
    # Few examples, and features without a plane of their own.
    assert plane_of(clusters()[:FEWEST]).shape == (FEWEST, 2) and not plane_of(np.full((6, 3), 0.25)).any()
    assert np.isfinite(plane_of(clusters()[:, :1, :1, 0])).all()
    with pytest.raises(ValueError, match="at least 4 .*received 3"):
        plane_of(clusters()[:3])

"""Networks that were trained before: their scaling, weights, what adapts, what is saved, and what is refused."""

from __future__ import annotations

import zipfile

import keras
import numpy as np
import pytest

import cml_tf
from cml_tf.adaptation import SGD, GradientDescent, KernelRidge, SoftKMeans, anil
from cml_tf.errors import UserError
from cml_tf.experiments.loading import load as load_run
from cml_tf.experiments.runs import train_run
from cml_tf.learners import Backbone, pretrained
from cml_tf.learners.pretrained import networks
from cml_tf.objectives import QueryLoss
from cml_tf.problems import Classification
from cml_tf.training.meta_gradient import meta_gradient
from cml_tf.training.method import Method
from export.exporter import export_model
from export.server.servable import Servable
from tests.export.forked_gate import forked_gate
from tests.helpers.seeded_episodes import classification_episode
from tests.helpers.small_configs import changed, load

THREE = Classification(3)
SMALL = {"network": "MobileNet", "weights": "", "tuned": True, "size": 32, "width": 0.05}
SHAPE = (16, 16, 1)


def own_network(path, scale=1.0):
    """A file with a net of two layers, which averages nothing itself."""
    layers = [keras.layers.Conv2D(4, 3, activation="relu"), keras.layers.BatchNormalization()]
    model = keras.Sequential([keras.Input(SHAPE), keras.layers.Rescaling(scale), *layers])
    model.save(path)
    return model


@pytest.fixture(scope="module")
def own_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("networks") / "own.keras"
    keras.utils.set_random_seed(0)
    own_network(path)
    return str(path)


def test_every_network_is_offered_with_the_module_of_its_scaling():
    assert {"MobileNetV2", "MobileNetV3Small", "ResNet50", "EfficientNetV2B0", "ConvNeXtTiny"} <= {*networks()}
    for family, expected in (("mobilenet_v2", 0.2), ("resnet_v2", 0.2), ("efficientnet", 153.0)):
        layer = Backbone(keras.Sequential([keras.Input((2, 2, 3)), keras.layers.Activation("linear")]), family)
        np.testing.assert_allclose(layer(np.full((1, 2, 2, 3), 0.6, "float32")), [[expected] * 3], rtol=1e-5)


def test_grey_pictures_are_scaled_and_repeated():
    layer = Backbone(keras.Sequential([keras.Input((4, 4, 3)), keras.layers.Flatten()]), size=4)
    pictures = np.random.default_rng(0).random((2, 8, 8, 1)).astype("float32")
    features = layer(pictures).numpy().reshape(2, 4, 4, 3)
    np.testing.assert_array_equal(features[..., 0], features[..., 2])
    np.testing.assert_allclose(features[..., 0].mean((1, 2)), pictures.mean((1, 2, 3)), rtol=0.05)


def test_a_file_says_to_which_edge_pictures_are_scaled(own_file):
    assert pretrained(3, (20, 30, 1), own_file).extractor.size == 16
    assert pretrained(3, SHAPE, **{**SMALL, "size": 40}).extractor.size == 40


@pytest.mark.slow
def test_weights_of_a_file_are_those_of_the_network(tmp_path):
    keras.utils.set_random_seed(1)
    other = keras.applications.MobileNet((32, 32, 3), 0.05, include_top=False, weights=None, pooling="avg")
    other.save_weights(tmp_path / "mine.weights.h5")
    learner = pretrained(3, SHAPE, **{**SMALL, "weights": str(tmp_path / "mine.weights.h5")})
    pictures = np.random.default_rng(0).random((2, 32, 32, 3)).astype("float32")
    np.testing.assert_array_equal(learner.extractor.network(pictures), other(pictures))


def test_a_frozen_network_stays_and_the_head_learns(own_file):
    learner = pretrained(3, SHAPE, own_file)
    assert learner.variables.extractor == () and len(learner.state_variables.extractor) == 6
    rule = GradientDescent(THREE, anil(SGD(0.1)), 2)
    made = Method.of(learner, rule, [QueryLoss(THREE)])
    gradients = meta_gradient(made, classification_episode(shape=SHAPE), made.weights()).gradients
    assert [len(values) for values in gradients.values()] == [2]
    # Decoders without a head have nothing but their own numbers to learn.
    for rule in (SoftKMeans(THREE, 2), KernelRidge(THREE)):
        bare = pretrained(None if isinstance(rule, SoftKMeans) else 3, SHAPE, own_file)
        made = Method.of(bare, rule, [QueryLoss(THREE)])
        assert "adaptation" in meta_gradient(made, classification_episode(shape=SHAPE), made.weights()).gradients


def test_running_statistics_of_a_tuned_network_leak_nothing(own_file):
    learner = pretrained(3, SHAPE, own_file, tuned=True)
    parameters, state = learner.initial()
    inputs = classification_episode(shape=SHAPE).support.inputs[0]
    forward = learner.call(parameters, state, inputs, (), True)
    alone = learner.call(parameters, state, inputs[:1], (), False)
    np.testing.assert_allclose(forward.outputs[:1], alone.outputs, rtol=1e-5)
    for before, after in zip(state.extractor, forward.state.extractor, strict=True):
        np.testing.assert_array_equal(before, after)


@pytest.mark.slow
def test_a_saved_model_needs_no_file_and_is_served_with_its_scaling(own_file, tmp_path):
    learner = pretrained(3, SHAPE, own_file)
    model = cml_tf.FewShotModel(Method.of(learner, KernelRidge(THREE), [QueryLoss(THREE)]), THREE, (0.0, 1.0))
    model.save(tmp_path / "saved")
    episode = classification_episode(shape=SHAPE)
    labels = episode.support.targets[0].numpy()
    support, queries = np.random.default_rng(0).random((2, len(labels), *SHAPE)).astype("float32")
    expected = model.adapt(support, labels).predict(queries)
    again = cml_tf.load(tmp_path / "saved")
    np.testing.assert_array_equal(again.adapt(support, labels).predict(queries), expected)
    with forked_gate():
        version = export_model(again, tmp_path / "served", shots=2, queries=2)
    asked = {"support_inputs": support[None], "support_labels": labels[None], "query_inputs": queries[None]}
    answer = Servable(version).run("serving_default", asked, ["probabilities"], 60)
    np.testing.assert_allclose(answer["probabilities"][0], expected, atol=1e-5)


@pytest.mark.slow
def test_a_run_is_trained_and_loaded_without_its_weights(tmp_path):
    keras.utils.set_random_seed(1)
    network = keras.applications.MobileNet((32, 32, 3), 0.05, include_top=False, weights=None, pooling="avg")
    weights = tmp_path / "mine.weights.h5"
    network.save_weights(weights)
    settings = {f"learner.{key}": value for key, value in {**SMALL, "tuned": False, "weights": str(weights)}.items()}
    few = {"train.meta_batch": 1, "dataset.queries": 1, "train.steps": 1, "train.validation_episodes": 2}
    words = "maml,pretrained,kernel_ridge,smoke"
    config = changed(load("glyphs", words), **settings, **few)
    train_run(config, tmp_path / "run")
    weights.unlink()
    kept = load_run(tmp_path / "run").method.learner.extractor.network
    for own, original in zip(kept.weights, network.weights, strict=True):
        np.testing.assert_array_equal(own.numpy(), original.numpy())


def damaged(path):
    path.write_bytes(b"no archive")
    return str(path)


def of_no_network(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("notes.txt", "no configuration")
    return str(path)


def of_two_channels(path):
    keras.Sequential([keras.Input((*SHAPE[:2], 2)), keras.layers.Conv2D(4, 3)]).save(path)
    return str(path)


def with_code(path):
    model = keras.Sequential([keras.Input(SHAPE), keras.layers.Lambda(lambda pictures: pictures + 1)])
    model.save(path)
    return str(path)


@pytest.mark.parametrize(
    ("make", "settings", "message"),
    [
        (lambda path: str(path), {}, "own.keras' cannot be loaded"),
        (damaged, {}, "own.keras' cannot be loaded"),
        (of_no_network, {}, "own.keras' cannot be loaded: .*config.json"),
        (of_two_channels, {}, "the extractor 'extractor' cannot process inputs"),
        (with_code, {}, "own.keras' cannot be loaded: .*[Ll]ambda"),
        (lambda path: "Nothing", {}, "learner.network must be one of .*received 'Nothing'"),
        (lambda path: "VGG16", {"width": 0.5, "size": 32}, "learner.width must be 1 for VGG16"),
        (lambda path: "VGG16", {}, "at least 32x32 for VGG16, received 16x16: set learner.size"),
        (lambda path: "MobileNet", {"size": 32, "weights": "none.h5"}, "learner.weights 'none.h5' cannot be loaded"),
    ],
)
def test_networks_and_weights_that_there_are_not_are_refused(tmp_path, make, settings, message):
    with pytest.raises(UserError, match=message):
        pretrained(3, SHAPE, **{"network": make(tmp_path / "own.keras"), "weights": "", **settings})

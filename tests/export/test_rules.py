"""Adaptation rules other than gradient descent, from training to the answer of a server."""

from __future__ import annotations

import json

import keras
import numpy as np
import pytest

import cml_tf
from cml_tf import datasets
from cml_tf.adaptation import KernelRidge, SoftKMeans
from cml_tf.learners import Learner, mlp
from cml_tf.objectives import QueryLoss
from cml_tf.training.evaluator import Evaluator
from export.client import ClientError, FewShotClient
from export.exporter import CARD, CARD_FOR_PEOPLE, EXTRA, export_model
from tests.export.server.running import running
from tests.helpers.seeded_episodes import classification_episode

THREE, LINE = cml_tf.Classification(3), cml_tf.Regression(1)
SHAPE = (4, 4, 1)


def _embedding() -> Learner:
    layers = [keras.layers.Flatten(), keras.layers.Dense(6, activation="tanh"), keras.layers.Dense(4)]
    return Learner(keras.Sequential(layers), keras.layers.Identity(), input_shape=SHAPE)


def _pictures():
    while True:
        yield classification_episode(ways=3, shots=2, queries=2, shape=SHAPE)


def _waves():
    return datasets.load("sinusoid").episodes("train", shots=5, queries=5, seed=0)


ROWS = {
    "ridge_pictures": lambda: (mlp(3, SHAPE, (6,)), KernelRidge(THREE, scale=4.0), THREE, _pictures(), (-5.0, 5.0)),
    "ridge_waves": lambda: (mlp(1, (1,), (8, 8)), KernelRidge(LINE), LINE, _waves(), (-5.0, 5.0)),
    "k_means": lambda: (_embedding(), SoftKMeans(THREE, 2), THREE, _pictures(), (-5.0, 5.0)),
}
TRANSDUCTIVE = ("k_means",)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Each rule trained for two steps, saved, loaded and exported."""
    root, made = tmp_path_factory.mktemp("rules"), {}
    for name, row in ROWS.items():
        learner, rule, problem, episodes, value_range = row()
        trainer = cml_tf.Trainer(learner, rule, [QueryLoss(problem)], problem)
        trainer.fit(episodes, steps=2, verbose=0)
        assert trainer.meta_step.traces == 1
        model = cml_tf.FewShotModel.of(trainer, value_range)
        model.save(root / "saved" / name)
        export_model(model, root / "models" / name, shots=2, queries=2)
        made[name] = model
    return root, made


@pytest.fixture(scope="module")
def server(models, tmp_path_factory):
    """A server with all of them."""
    root, made = models
    entries = "".join(
        f'  config {{ name: "{name}" base_path: "{root / "models" / name}" model_platform: "tensorflow" }}\n'
        for name in made
    )
    (root / "models.config").write_text(f"model_config_list {{\n{entries}}}\n")
    with running(f"--model_config_file={root / 'models.config'}", log=tmp_path_factory.mktemp("log") / "log") as it:
        yield it


def _task(name, support=6, queries=5):
    generator = np.random.default_rng(0)
    if name == "ridge_waves":
        return (generator.uniform(-5, 5, (count, 1)).astype("f4") for count in (support, support, queries))
    inputs, asked = (generator.standard_normal((count, *SHAPE)).astype("f4") for count in (support, queries))
    return inputs, ["cat", "dog", "owl"] * (support // 3), asked


@pytest.mark.parametrize("name", ROWS)
def test_a_loaded_model_answers_as_the_trained_one(models, name):
    root, made = models
    inputs, targets, queries = _task(name)
    loaded = cml_tf.load(root / "saved" / name)
    expected = made[name].adapt(inputs, targets).predict(queries)
    np.testing.assert_allclose(loaded.adapt(inputs, targets).predict(queries), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ROWS)
@pytest.mark.parametrize("scheme", ["grpc", "http"])
def test_a_served_model_answers_as_the_library_does(models, server, name, scheme):
    inputs, targets, queries = _task(name)
    expected = models[1][name].adapt(inputs, targets).predict(queries)
    address = f"grpc://{server.grpc_address}" if scheme == "grpc" else f"http://127.0.0.1:{server.rest_port}"
    with FewShotClient(address, name) as client:
        whole = client.adapt_and_predict(inputs, targets, queries)
        np.testing.assert_allclose(whole.values, expected, rtol=1e-4, atol=1e-5)
        if name in TRANSDUCTIVE:
            with pytest.raises(ClientError, match="adapts to the queries too.*call adapt_and_predict with both"):
                client.adapt(inputs, targets)
            return
        later = client.predict(client.adapt(inputs, targets), queries)
        np.testing.assert_allclose(later.values, expected, rtol=1e-4, atol=1e-5)


def test_states_that_grow_are_asked_together_and_cut(models, server):
    with FewShotClient(f"grpc://{server.grpc_address}", "ridge_waves") as client:
        for support in (1, 3, 9):
            inputs, targets, queries = _task("ridge_waves", support)
            adapted = client.adapt(inputs, targets)
            assert adapted.state.shape == (support * (8 + 1),)
            expected = models[1]["ridge_waves"].adapt(inputs, targets).predict(queries)
            np.testing.assert_allclose(client.predict(adapted, queries).values, expected, rtol=1e-4, atol=1e-5)


def test_cards_say_what_a_client_must_know(models):
    root, _ = models
    cards = {name: json.loads((root / "models" / name / "1" / EXTRA / CARD).read_text()) for name in ROWS}
    assert cards["k_means"]["adapted_state"] is None and cards["k_means"]["queries"]["adapts_to_queries"]
    assert "adapt" not in cards["k_means"]["signatures"] and "predict" not in cards["k_means"]["signatures"]
    state = cards["ridge_pictures"]["adapted_state"]
    assert state["length"] is None and state["entries"][0]["shape"] == [None, 6]
    assert cards["ridge_waves"]["adaptation"] == {
        "rule": "KernelRidge",
        "partition": "nothing",
        "steps": None,
        "readout": "learner",
    }
    text = (root / "models" / "k_means" / "1" / EXTRA / CARD_FOR_PEOPLE).read_text()
    assert "answers depend on the other queries" in text


def test_they_are_evaluated(models):
    source = datasets.load("sinusoid").episodes("test", shots=5, queries=5, seed=0)
    result = Evaluator(models[1]["ridge_waves"].method, "mse").evaluate(source, 4, 0)
    assert np.isfinite(result.mean) and result.episodes == 4

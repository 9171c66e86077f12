"""Adaptation rules other than gradient descent, from training to the answer of a server."""

from __future__ import annotations

import json

import keras
import numpy as np
import pytest

import cml_tf
from cml_tf.adaptation import KernelRidge, SoftKMeans
from cml_tf.learners import Learner, mlp
from cml_tf.objectives import QueryLoss
from export.client import ClientError, FewShotClient
from export.exporter import CARD, CARD_FOR_PEOPLE, EXTRA, export_model
from tests.export.server.conformance.make_models import config_text
from tests.export.server.running import running
from tests.helpers.seeded_episodes import classification_episode

THREE, SHAPE = cml_tf.Classification(3), (4, 4, 1)


def _embedding() -> Learner:
    layers = [keras.layers.Flatten(), keras.layers.Dense(6, activation="tanh"), keras.layers.Dense(4)]
    return Learner(keras.Sequential(layers), keras.layers.Identity(), input_shape=SHAPE)


def _pictures():
    while True:
        yield classification_episode(ways=3, shots=2, queries=2, shape=SHAPE)


ROWS = {
    "ridge": lambda: (mlp(3, SHAPE, (6,)), KernelRidge(THREE, scale=4.0)),
    "k_means": lambda: (_embedding(), SoftKMeans(THREE, 2)),
}
TRANSDUCTIVE = ("k_means",)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Each rule trained for two steps, saved, loaded and exported."""
    root, made = tmp_path_factory.mktemp("rules"), {}
    for name, row in ROWS.items():
        learner, rule = row()
        trainer = cml_tf.Trainer(learner, rule, [QueryLoss(THREE)], THREE)
        trainer.fit(_pictures(), steps=2, verbose=0)
        assert trainer.meta_step.traces == 1
        made[name] = cml_tf.FewShotModel.of(trainer, (-5.0, 5.0))
        made[name].save(root / "saved" / name)
        export_model(cml_tf.load(root / "saved" / name), root / "models" / name, shots=2, queries=2)
    return root, made


@pytest.fixture(scope="module")
def server(models, tmp_path_factory):
    """A server with all of them."""
    root, made = models
    (root / "models.config").write_text(config_text({name: root / "models" / name for name in made}))
    with running(f"--model_config_file={root / 'models.config'}", log=tmp_path_factory.mktemp("log") / "log") as it:
        yield it


def _task(support=6, queries=5):
    generator = np.random.default_rng(0)
    inputs, asked = (generator.standard_normal((count, *SHAPE)).astype("f4") for count in (support, queries))
    return inputs, ["cat", "dog", "owl"] * (support // 3), asked


@pytest.mark.parametrize("name", ROWS)
def test_a_loaded_model_answers_as_the_trained_one(models, name):
    root, made = models
    inputs, targets, queries = _task()
    loaded = cml_tf.load(root / "saved" / name)
    expected = made[name].adapt(inputs, targets).predict(queries)
    np.testing.assert_allclose(loaded.adapt(inputs, targets).predict(queries), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ROWS)
@pytest.mark.parametrize("scheme", ["grpc", "http"])
def test_a_served_model_answers_as_the_library_does(models, server, name, scheme):
    inputs, targets, queries = _task()
    expected = models[1][name].adapt(inputs, targets).predict(queries)
    address = f"grpc://{server.grpc_address}" if scheme == "grpc" else f"http://127.0.0.1:{server.rest_port}"
    with FewShotClient(address, name) as client:
        whole = client.adapt_and_predict(inputs, targets, queries)
        np.testing.assert_allclose(whole.values, expected, rtol=1e-4, atol=1e-5)
        if name in TRANSDUCTIVE:
            with pytest.raises(ClientError, match="adapts to the queries too.*call adapt_and_predict with both"):
                client.adapt(inputs, targets)
            return
        # States grow with the support set, and are cut.
        for support in (3, 6, 12):
            inputs, targets, queries = _task(support)
            adapted = client.adapt(inputs, targets)
            assert adapted.state.shape == (support * (6 + 3),)
            expected = models[1][name].adapt(inputs, targets).predict(queries)
            np.testing.assert_allclose(client.predict(adapted, queries).values, expected, rtol=1e-4, atol=1e-5)


def test_cards_say_what_a_client_must_know(models):
    root, _ = models
    cards = {name: json.loads((root / "models" / name / "1" / EXTRA / CARD).read_text()) for name in ROWS}
    assert cards["k_means"]["adapted_state"] is None and cards["k_means"]["queries"]["adapts_to_queries"]
    assert not {"adapt", "predict"} & cards["k_means"]["signatures"].keys()
    ridge = cards["ridge"]
    assert ridge["adapted_state"]["length"] is None and ridge["adapted_state"]["entries"][0]["shape"] == [None, 6]
    told = {"rule": "KernelRidge", "partition": "nothing", "steps": None, "readout": "learner"}
    assert ridge["adaptation"] == told
    assert ridge["data"] == {"shots": 2, "queries": 2} and ridge["config"] is None
    text = (root / "models" / "k_means" / "1" / EXTRA / CARD_FOR_PEOPLE).read_text()
    assert "answers depend on the other queries" in text

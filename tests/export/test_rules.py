"""Adaptation rules other than gradient descent, from training to the answer of a server."""

import itertools
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

THREE, SHAPE, CLOSE = cml_tf.Classification(3), (4, 4, 1), {"rtol": 1e-4, "atol": 1e-5}


def _embedding() -> Learner:
    layers = [keras.layers.Flatten(), keras.layers.Dense(6, activation="tanh"), keras.layers.Dense(4)]
    return Learner(keras.Sequential(layers), keras.layers.Identity(), input_shape=SHAPE)


ROWS = {
    "ridge": lambda: (mlp(3, SHAPE, (6,)), KernelRidge(THREE, scale=4.0)),
    "k_means": lambda: (_embedding(), SoftKMeans(THREE, 2)),
}


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Each rule trained for two steps, saved, loaded and exported."""
    root, made = tmp_path_factory.mktemp("rules"), {}
    episode = classification_episode(ways=3, shots=2, queries=2, shape=SHAPE)
    for name, row in ROWS.items():
        trainer = cml_tf.Trainer(*row(), [QueryLoss(THREE)], THREE)
        trainer.fit(itertools.repeat(episode), steps=2, verbose=0)
        assert trainer.meta_step.traces == 1
        made[name] = cml_tf.FewShotModel.of(trainer, (-5.0, 5.0))
        made[name].save(root / "saved" / name)
        export_model(cml_tf.load(root / "saved" / name), root / "models" / name, shots=2, queries=2)
    return root, made


@pytest.fixture(scope="module")
def server(models):
    """A server with all of them."""
    root, made = models
    (root / "models.config").write_text(config_text({name: root / "models" / name for name in made}))
    with running(f"--model_config_file={root / 'models.config'}", log=root / "log") as it:
        yield it


def _task(support=6, queries=5):
    generator = np.random.default_rng(0)
    inputs, asked = (generator.standard_normal((count, *SHAPE)).astype("f4") for count in (support, queries))
    return inputs, ["cat", "dog", "owl"] * (support // 3), asked


@pytest.mark.parametrize("name", ROWS)
def test_loaded_and_served_models_answer_as_the_trained_one(models, server, name):
    root, made = models
    inputs, targets, queries = _task()
    expected = made[name].adapt(inputs, targets).predict(queries)
    loaded = cml_tf.load(root / "saved" / name).adapt(inputs, targets).predict(queries)
    np.testing.assert_allclose(loaded, expected, rtol=1e-5, atol=1e-6)
    for address in server.addresses.values():
        with FewShotClient(address, name) as client:
            np.testing.assert_allclose(client.adapt_and_predict(inputs, targets, queries).values, expected, **CLOSE)
            if name == "k_means":
                with pytest.raises(ClientError, match="queries too.*adapt_and_predict"):
                    client.adapt(inputs, targets)
                continue
            # States grow with the support set, and are cut.
            for support in (3, 6, 12):
                more, names, _ = _task(support)
                adapted = client.adapt(more, names)
                assert adapted.state.shape == (support * (6 + 3),)
                answer = made[name].adapt(more, names).predict(queries)
                np.testing.assert_allclose(client.predict(adapted, queries).values, answer, **CLOSE)


def test_cards_say_what_a_client_must_know(models):
    folders = {name: models[0] / "models" / name / "1" / EXTRA for name in ROWS}
    ridge, k_means = (json.loads((folder / CARD).read_text()) for folder in folders.values())
    assert k_means["adapted_state"] is None and k_means["queries"]["adapts_to_queries"]
    assert not {"adapt", "predict"} & k_means["signatures"].keys()
    assert "answers depend on the other queries" in (folders["k_means"] / CARD_FOR_PEOPLE).read_text()
    assert ridge["adapted_state"]["length"] is None and ridge["adapted_state"]["entries"][0]["shape"] == [None, 6]
    told = {"rule": "KernelRidge", "partition": "nothing", "steps": None, "readout": "learner"}
    assert ridge["adaptation"] == told
    assert ridge["data"] == {"shots": 2, "queries": 2} and ridge["config"] is None

"""Every member that answers: trained by configuration, loaded, saved, exported, served, and asked by the client."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

import cml_tf
from cml_tf.experiments.experiment import build_experiment
from cml_tf.experiments.runs import train_run
from cml_tf.registry import members
from export import exporter
from export.client import ClientError, FewShotClient
from export.exporter import CARD, CARD_FOR_PEOPLE, EXTRA, Options, export_run, exportable
from export.graph.specifications import input_specifications
from tests.export.served import eager
from tests.export.server.conformance.make_models import config_text
from tests.export.server.running import running
from tests.helpers.members import choice_with, small

pytestmark = pytest.mark.slow

OUTER = [name for name, one in members("objective").items() if one.traits["slot"] == "outer"]
AXES = {"objective": OUTER, "update": members("update"), "rule": members("rule")}
# Update rules that need no model of their own, by the objective whose model they are part of.
SHARED = {"mixed_trajectory": "meta_sgd", "multi_step": "per_step_rates"}


def cheap(axis, name):
    """A choice with it whose training is quickly traced: what is served depends on no co-learner or hypergradient."""
    found = choice_with(axis, name).with_members((other, other) for other in [SHARED.get(name)] if other)
    order = "first_order" if found.hypergradient == "reverse" else found.hypergradient
    return dataclasses.replace(found, terms=found.terms[:1], hypergradient=order)


# Of members that choose the same the last one.
_NAMES = {cheap(axis, name): name for axis, own in AXES.items() for name in own if name not in SHARED.values()}
CHOICES = {name: (choice, {}) for choice, name in _NAMES.items()}
# What an option makes of a member.
CHOICES["fiml_transductive"] = (cheap("rule", "steepest_descent"), {"adaptation.transductive": True})
WIDTH = 8


def configuration(choice, name, **more):
    """Early losses need an early step."""
    steps = 2 if name in SHARED else 1
    return small(choice, **{"dataset.ways": 3, "learner.hidden": (WIDTH,), "adaptation.steps": steps, **more})


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Of each member a run of a few steps, and its export.

    The gate is left out: what it replays in a process of its own is asked of a server below, and compared with the run.
    """
    root = tmp_path_factory.mktemp("members")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exporter, "check_parity", lambda *_: 0)
        for name, (choice, more) in CHOICES.items():
            train_run(configuration(choice, name, **more), root / "runs" / name, verbose=0)
            export_run(root / "runs" / name, root / "models" / name)
    return root


@pytest.fixture(scope="module")
def server(models, tmp_path_factory):
    """A server with all of them."""
    (models / "models.config").write_text(config_text({name: models / "models" / name for name in CHOICES}))
    with running(f"--model_config_file={models / 'models.config'}", log=tmp_path_factory.mktemp("log") / "log") as it:
        yield it


def task(shots=2):
    source = cml_tf.datasets.load("glyphs").episodes("test", ways=3, shots=shots, queries=2, seed=0)
    episode = source.batch(0, 1)
    names = np.array(["cat", "dog", "owl"])[episode.support.targets[0].numpy()].tolist()
    return episode.support.inputs[0].numpy(), names, episode.query.inputs[0].numpy()


def card(models, name):
    return json.loads((models / "models" / name / "1" / EXTRA / CARD).read_text())


@pytest.mark.parametrize("name", CHOICES)
def test_a_run_its_saved_model_and_the_server_answer_alike(models, server, name, tmp_path):
    inputs, names, asked = task()
    model = eager(cml_tf.load(models / "runs" / name))
    expected = model.adapt(inputs, names).predict(asked)
    model.save(tmp_path / "saved")
    saved = eager(cml_tf.load(tmp_path / "saved")).adapt(inputs, names).predict(asked)
    np.testing.assert_allclose(saved, expected, rtol=1e-5, atol=1e-6)
    for address in (f"grpc://{server.grpc_address}", f"http://127.0.0.1:{server.rest_port}"):
        with FewShotClient(address, name) as client:
            whole = client.adapt_and_predict(inputs, names, asked)
            np.testing.assert_allclose(whole.values, expected, rtol=1e-4, atol=1e-5)
            if card(models, name)["adapted_state"] is None:
                with pytest.raises(ClientError, match="adapt_and_predict"):
                    client.adapt(inputs, names)
                continue
            adapted = client.adapt(inputs, names)
            np.testing.assert_allclose(client.predict(adapted, asked).values, expected, rtol=1e-4, atol=1e-5)


def test_states_that_grow_are_as_long_as_the_support_set_asks_for(models, server):
    model = eager(cml_tf.load(models / "runs" / "kernel_ridge"))
    for shots in (1, 4):
        inputs, names, asked = task(shots)
        with FewShotClient(f"grpc://{server.grpc_address}", "kernel_ridge") as client:
            adapted = client.adapt(inputs, names)
            assert adapted.state.shape == (3 * shots * (WIDTH + 3),)
            expected = model.adapt(inputs, names).predict(asked)
            np.testing.assert_allclose(client.predict(adapted, asked).values, expected, rtol=1e-4, atol=1e-5)


def test_cards_say_what_a_client_must_know(models):
    transductive = card(models, "soft_k_means")
    assert transductive["adapted_state"] is None and transductive["queries"]["adapts_to_queries"]
    assert not {"adapt", "predict"} & transductive["signatures"].keys()
    text = (models / "models" / "soft_k_means" / "1" / EXTRA / CARD_FOR_PEOPLE).read_text()
    assert "answers depend on the other queries" in text
    ridge = card(models, "kernel_ridge")
    assert ridge["adapted_state"]["length"] is None and ridge["adapted_state"]["entries"][0]["shape"] == [None, WIDTH]
    told = {"rule": "kernel_ridge", "partition": "nothing", "steps": None, "readout": "learner"}
    assert ridge["adaptation"] == told


def test_an_option_makes_a_rule_transductive():
    """Without it the same rule hands out states; the tests above serve both."""
    for transductive in (False, True):
        config = configuration(cheap("rule", "steepest_descent"), "", **{"adaptation.transductive": transductive})
        model = exportable(build_experiment(config), Options())
        assert (model.rule.uses_query_inputs, model.packs) == (transductive, not transductive)
        assert ("adapt" in input_specifications(model)) != transductive
        assert transductive or model.state_size(0) == 3 * WIDTH

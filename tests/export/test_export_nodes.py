"""From a run on nodes to a version, through the parity gate."""

from __future__ import annotations

import json

import numpy as np
import pytest

from cml_tf.experiments.loading import load
from cml_tf.experiments.runs import load_run
from export.errors import ExportError
from export.exporter import CARD, CARD_FOR_PEOPLE, EXTRA, WARM_UP, Options, export_model, export_run, exportable
from export.requests.files import read_requests
from tests.export.served import in_process, loaded, node_request, reference_context

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def version(node_run, tmp_path_factory):
    """A run exported for good: the gate compares every signature and fault, through a Session too."""
    return export_run(node_run, tmp_path_factory.mktemp("models") / "papers", Options(evaluate_episodes=3))


def test_it_answers_as_the_run_that_it_comes_from(version, node_run):
    served, model, dataset = loaded(version), load(node_run), load_run(node_run).dataset
    graph = dataset.graph
    nodes = np.flatnonzero(graph.labels >= 0)[:12].astype(np.int32)
    support, labels, query = nodes[:4], np.array([0, 1, 0, 1], np.int32), nodes[4:]
    answer = served(
        "serving_default",
        node_features=graph.features.toarray()[None],
        edges=np.argwhere(graph.adjacency.toarray()).astype(np.int32)[None],
        support_nodes=support[None],
        support_labels=labels[None],
        query_nodes=query[None],
    )
    assert answer["status"].tolist() == [0]
    expected = model.adapt(support, labels, context=dataset.context).predict(query)
    np.testing.assert_allclose(answer["probabilities"][0], expected, rtol=1e-5, atol=1e-6)


def test_the_card_says_what_it_is(version):
    card = json.loads((version / EXTRA / CARD).read_text())
    features = {"node_features": 9, "hops": 2, "normalise_features": True}
    assert card["inputs"] == {"shape": [], "dtype": "int32", **features}
    assert card["status"].keys() == set("0123456") and card["metrics"]["episodes"] == 3
    assert card["queries"] == {
        "normalisation": [],
        "adapts_to_queries": False,
        "predictions_depend_on_other_queries": False,
        "measured_difference": pytest.approx(0, abs=1e-5),
    }
    assert card["parameters"]["left_behind"].keys() == {"co_learner"}
    text = (version / EXTRA / CARD_FOR_PEOPLE).read_text()
    assert "node numbers of a graph that comes with each task: 9 features per node" in text
    assert "divided by their sum and propagated (hops: 2)" in text


def test_warm_up_asks_every_signature_with_a_graph(version):
    requests = read_requests(version / EXTRA / WARM_UP)
    signatures = {"serving_default", "adapt_and_predict_padded", "adapt", "initial_state", "predict"}
    assert {request.signature for request in requests} == signatures
    for request in requests:
        assert request.inputs["node_features"].shape[2] == 9
        nodes = request.inputs["node_features"].shape[1]
        assert request.inputs["edges"].min() >= 0 and request.inputs["edges"].max() < nodes


def test_cml_dagger_is_exported_too(node_run):
    model = exportable(load_run(node_run), Options(readout="co_learner", steps=1))
    served = in_process(model)
    inputs = node_request()
    inputs["node_features"] = np.pad(inputs["node_features"], [(0, 0), (0, 0), (0, 2)])
    answer = served("serving_default", **inputs)
    assert answer["status"].tolist() == [0]
    expected = served.in_process.adapt(
        inputs["support_nodes"][0], inputs["support_labels"][0], context=reference_context(model, inputs)
    ).predict(inputs["query_nodes"][0])
    np.testing.assert_allclose(answer["probabilities"][0], expected, rtol=1e-5, atol=1e-6)


def test_a_model_from_python_must_say_how_its_features_were_made(node_run, tmp_path):
    with pytest.raises(ExportError, match="normalise_features must be True or False for a model on nodes"):
        export_model(load(node_run), tmp_path / "papers", shots=2, queries=3)
    assert not (tmp_path / "papers").exists()


@pytest.mark.long
def test_a_model_from_python_is_exported_like_the_run_it_comes_from(version, node_run, tmp_path):
    again = export_model(load(node_run), tmp_path / "papers", shots=2, queries=3, normalise_features=True)
    cards = [json.loads((made / EXTRA / CARD).read_text()) for made in (version, again)]
    assert cards[0]["inputs"] == cards[1]["inputs"] and cards[0]["variables_sha256"] == cards[1]["variables_sha256"]

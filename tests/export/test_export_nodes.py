"""From a run on nodes to a version, through the parity gate."""

import json

import numpy as np
import pytest

from cml_tf.experiments.loading import load
from cml_tf.experiments.runs import load_run
from export.errors import ExportError
from export.exporter import CARD, CARD_FOR_PEOPLE, EXTRA, WARM_UP, Options, export_model, export_run
from export.requests.files import read_requests
from tests.export.forked_gate import forked_gate
from tests.export.served import eager, loaded

pytestmark = pytest.mark.slow
CLOSE = {"rtol": 1e-5, "atol": 1e-6}


@pytest.fixture(scope="module")
def version(node_run, tmp_path_factory):
    """A run exported for good: the gate compares every signature and fault, through a Session too."""
    with forked_gate():
        return export_run(node_run, tmp_path_factory.mktemp("models") / "papers", Options(evaluate_episodes=3))


def test_it_answers_as_the_run_that_it_comes_from(version, node_run):
    dataset = load_run(node_run).dataset
    graph, labels = dataset.graph, np.array([0, 1, 0, 1], np.int32)
    support, query = np.split(np.flatnonzero(graph.labels >= 0)[:12].astype(np.int32), [4])
    inputs = {
        "node_features": graph.features.toarray(),
        "edges": np.argwhere(graph.adjacency.toarray()).astype(np.int32),
        **{"support_nodes": support, "support_labels": labels, "query_nodes": query},
    }
    answer = loaded(version)("serving_default", **{name: array[None] for name, array in inputs.items()})
    assert answer["status"].tolist() == [0]
    expected = eager(load(node_run)).adapt(support, labels, context=dataset.context).predict(query)
    np.testing.assert_allclose(answer["probabilities"][0], expected, **CLOSE)


def test_the_card_and_the_warm_up_say_what_it_is(version):
    card = json.loads((version / EXTRA / CARD).read_text())
    features = {"node_features": 9, "hops": 2, "normalise_features": True}
    assert card["inputs"] == {"shape": [], "dtype": "int32", **features}
    assert card["status"].keys() == set("01234567") and card["metrics"]["episodes"] == 3
    assert card["queries"] == {
        **{
            "normalisation": [],
            "statistics": {},
            "adapts_to_queries": False,
            "predictions_depend_on_other_queries": False,
        },
        "measured_difference": pytest.approx(0, abs=1e-5),
    }
    assert card["parameters"]["left_behind"].keys() == {"co_learner"}
    text = (version / EXTRA / CARD_FOR_PEOPLE).read_text()
    assert "9 features" in text and "divided by their sum and propagated (hops: 2)" in text
    requests = read_requests(version / EXTRA / WARM_UP)
    assert {request.signature for request in requests} == card["signatures"].keys()
    for request in requests:
        _, nodes, width = request.inputs["node_features"].shape
        assert width == 9 and request.inputs["edges"].min() >= 0 and request.inputs["edges"].max() < nodes


def test_a_model_from_python_must_say_how_its_features_were_made(node_run, tmp_path):
    with pytest.raises(ExportError, match="normalise_features"):
        export_model(load(node_run), tmp_path / "papers", shots=2, queries=3)
    assert not (tmp_path / "papers").exists()


@pytest.mark.long
def test_a_model_from_python_is_exported_like_the_run_it_comes_from(version, node_run, tmp_path):
    again = export_model(load(node_run), tmp_path / "papers", shots=2, queries=3, normalise_features=True)
    cards = [json.loads((made / EXTRA / CARD).read_text()) for made in (version, again)]
    assert cards[0]["inputs"] == cards[1]["inputs"] and cards[0]["variables_sha256"] == cards[1]["variables_sha256"]

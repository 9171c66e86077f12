"""Through the client a served model answers as the library does, over both protocols."""

import dataclasses

import numpy as np
import pytest
import scipy.sparse

from export import status
from export.client import Adapted, ClientError, RequestError, TaskError
from export.client.graphs import Graph, around
from tests.export.served import CLOSE, inputs_of, reference_context
from tests.helpers.drawn_images import encoded

NAMES = ("cat", "ant", "bee")


def _task(served, classes=3):
    """Support set, targets (names of classes), queries, and of nodes their graph, in both forms."""
    inputs = inputs_of(served.model, support=2 * classes)
    if "edges" in inputs:
        graph = Graph(inputs["node_features"][0], inputs["edges"][0])
        names = [NAMES[label] for label in inputs["support_labels"][0]]
        context = reference_context(served.model, inputs)
        return inputs["support_nodes"][0], names, inputs["query_nodes"][0], graph, {"context": context}
    support, targets, query = (array[0] for array in inputs.values())
    if served.model.classification:
        targets = [NAMES[position % classes] for position in range(2 * classes)]
    return support, targets, query, None, {}


@pytest.mark.parametrize(
    ("served", "classes"), [("images", 3), ("images", 2), ("waves", 3), ("nodes", 2)], indirect=["served"]
)
def test_the_client_answers_as_the_library(ask, served, classes, request, tmp_path):
    support, targets, query, graph, more = _task(served, classes)
    expected = served.in_process.adapt(support, targets, **more)
    model = request.node.callspec.params["served"]
    client = ask(model)
    adapted, whole = client.adapt(support, targets, graph), client.adapt_and_predict(support, targets, query, graph)
    np.testing.assert_allclose(adapted.state, expected.packed(), **CLOSE)
    for answer in (whole, client.predict(adapted, query, graph)):
        np.testing.assert_allclose(answer.values, expected.predict(query), **CLOSE)
        if served.model.classification:
            assert answer.class_names == expected.class_names == tuple(sorted(set(targets)))
            assert list(answer.classes) == expected.classify(query)
    if not served.model.classification:
        assert whole.class_names is None
        with pytest.raises(TypeError, match="no classes"):
            _ = whole.classes
        # One value a target may come without its axis.
        np.testing.assert_array_equal(client.adapt(support, targets[:, 0]).state, adapted.state)
    assert 0 < adapted.loss_after < adapted.loss_before
    assert client.predict(adapted, query[:0], graph).values.shape == (0, whole.values.shape[1])
    # An adapted task outlives its client, but not its model.
    adapted.save(tmp_path / "task.npz")
    again = ask(model).predict(Adapted.load(tmp_path / "task.npz"), query, graph)
    np.testing.assert_array_equal(again.values, client.predict(adapted, query, graph).values)
    for changed, error, words in (
        ({"fingerprint": adapted.fingerprint ^ 1}, TaskError, status.MEANINGS[status.STATE_OF_ANOTHER_MODEL]),
        ({"version": 99}, RequestError, "99.*adapt"),
        ({"model": "other"}, ClientError, "other"),
    ):
        with pytest.raises(error, match=words):
            client.predict(dataclasses.replace(adapted, **changed), query, graph)


@pytest.mark.parametrize("classes", [3, 2])
def test_how_sure_a_model_is_arrives_with_its_answers(ask, judged, classes):
    support, targets, query, _, _ = _task(judged, classes)
    client, names = ask("judged"), sorted(set(targets))
    labels = np.array([names.index(name) for name in targets], np.int32)
    inputs = {"support_inputs": support[None], "support_labels": labels[None], "query_inputs": query[None]}
    expected = {name: array[0] for name, array in judged("serving_default", **inputs).items()}
    for answer in (
        client.adapt_and_predict(support, targets, query),
        client.predict(client.adapt(support, targets), query),
    ):
        found = answer.confidence
        np.testing.assert_allclose(found.probabilities, expected["calibrated_probabilities"][:, :classes], **CLOSE)
        np.testing.assert_array_equal(found.sets, expected["prediction_set"][:, :classes] == 1)
        np.testing.assert_array_equal(found.known, expected["is_known"] == 1)
        np.testing.assert_allclose(found.scores, expected["known_score"], **CLOSE)
        assert answer.prediction_set(0) == tuple(name for name, held in zip(names, found.sets[0], strict=True) if held)
    # A model without one has none.
    assert ask("images").adapt_and_predict(support, targets, query).confidence is None


def test_image_files_are_read_as_training_reads_them(ask, images):
    support, names, query, _, _ = _task(images)
    levels = [np.round(examples * 255).astype(np.uint8) for examples in (support, query)]
    files, questions = ([encoded(image) for image in examples] for examples in levels)
    # 1 / 255 as the one preprocessing function scales.
    shown, asked = (examples * np.float32(1 / 255) for examples in levels)
    expected, client = images.in_process.adapt(shown, names).predict(asked), ask("images")
    for answer in (
        client.adapt_and_predict(files, names, questions),
        client.predict(client.adapt(files, names), questions),
    ):
        np.testing.assert_allclose(answer.values, expected, **CLOSE)


def test_whatever_holds_features_and_edges_is_a_graph_and_its_part_answers_as_the_whole(ask, nodes):
    support, names, query, graph, _ = _task(nodes)
    client = ask("nodes")
    expected = client.adapt_and_predict(support, names, query, graph).values
    lists = (scipy.sparse.csr_matrix(graph.features), graph.edges.tolist())
    np.testing.assert_array_equal(client.adapt_and_predict(support.tolist(), names, query, lists).values, expected)
    inputs = {**inputs_of(nodes.model), "edges": np.zeros((1, 0, 2), np.int32)}
    alone = nodes.in_process.adapt(support, names, context=reference_context(nodes.model, inputs)).predict(query)
    answer = client.adapt_and_predict(support, names, query, (graph.features, []))
    np.testing.assert_allclose(answer.values, alone, **CLOSE)
    # Two graph convolutions look two edges far; the third edge is there for the degrees.
    few = query[:1]
    expected = client.adapt_and_predict(support[:2], names[:2], few, graph).values
    for distance, equal in ((3, True), (1, False)):
        part = around(graph, np.concatenate([support[:2], few]), distance)
        asked = part.numbers(support[:2]), names[:2], part.numbers(few), part.graph
        assert np.allclose(client.adapt_and_predict(*asked).values, expected, rtol=1e-5, atol=1e-6) == equal


def test_the_part_is_what_lies_around():
    path = Graph(np.arange(12.0).reshape(6, 2), np.array([[1, 0], [1, 2], [2, 3], [3, 4], [5, 5]]))
    part = around(path, [2], 1)
    assert part.nodes.tolist() == [1, 2, 3] and part.graph.edges.tolist() == [[0, 1], [1, 2]]
    np.testing.assert_array_equal(part.graph.features, path.features[1:4])
    assert part.numbers([3, 1]).tolist() == [2, 0]
    assert around(path, [5, 0], 0).graph.edges.tolist() == [[1, 1]]
    with pytest.raises(ClientError, match="distance"):
        around(path, [2], -1)


class Dropped(dict):
    """Interfaces that another thread drops whenever this one has found them."""

    def __getitem__(self, choice):
        raise KeyError(choice)

    def get(self, choice, default=None):
        return self.pop(choice, default)


@pytest.mark.parametrize("kind", [dict, Dropped])
def test_a_client_outlives_the_version_that_it_first_met(ask, images, kind):
    support, names, query, _, _ = _task(images)
    client = ask("images")
    now, expected = client.interface(), client.adapt_and_predict(support, names, query).values
    # What a version of other images, and one of fewer classes, would have left behind.
    for before in ({"input_shape": (8, 8, 1)}, {"outputs": 2}):
        client._interfaces = kind({client._choice: dataclasses.replace(now, **before)})
        np.testing.assert_array_equal(client.adapt_and_predict(support, names, query).values, expected)
    # One of more classes: the server alone can tell that there are too many now.
    client._interfaces = kind({client._choice: dataclasses.replace(now, outputs=now.outputs + 2)})
    pictures = np.concatenate([support] * 4)[: now.outputs + 1]
    with pytest.raises(ClientError, match=f"classes must be .*{now.outputs}"):
        client.adapt_and_predict(pictures, [f"class {number}" for number in range(now.outputs + 1)], query)
    assert client.interface() == now


def test_a_status_is_an_error_that_says_what_to_do(ask, waves):
    support, targets, query, _, _ = _task(waves)
    client = ask("waves")
    for fail, code in (
        (lambda: client.adapt(support * 1e18, targets * 1e18), status.DIVERGED),
        (lambda: client.adapt_and_predict(support, targets, query * np.nan), status.NON_FINITE_INPUT),
    ):
        with pytest.raises(TaskError) as caught:
            fail()
        assert caught.value.statuses == (code,) and status.MEANINGS[code] in str(caught.value)
    message = str(TaskError([status.OK, status.SIZE, 77]))
    assert f"status {status.SIZE} of task 1 ({status.MEANINGS[status.SIZE]})" in message
    assert "status 77 of task 2" in message and "task 0" not in message, "every faulty one is named"


def test_models_that_are_not_there_or_not_ours(ask):
    for model, choice, error, words in (
        ("nobody", {}, RequestError, "NOT_FOUND|name"),
        ("halver", {"version": 1}, ClientError, "serving_default.*both"),
        ("images", {"version_label": "nobody"}, RequestError, "label|version"),
    ):
        with pytest.raises(error, match=words):
            ask(model, **choice).interface()
    assert ask("images", version=1).interface().version == 1

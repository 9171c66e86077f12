"""Through the client a served model answers as the library does, over both protocols."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from export import status
from export.client import Adapted, ClientError, FewShotClient, RequestError, TaskError
from tests.export.served import request
from tests.helpers.drawn_images import encoded

CLOSE = {"rtol": 1e-5, "atol": 1e-5}
NAMES = ("cat", "ant", "bee")


@pytest.fixture(params=["grpc", "http"])
def ask(request, server):
    """Makes a client of a model."""
    addresses = {"grpc": f"grpc://{server.grpc_address}", "http": f"http://127.0.0.1:{server.rest_port}"}
    clients = []

    def make(model: str, **choice) -> FewShotClient:
        clients.append(FewShotClient(addresses[request.param], model, **choice))
        return clients[-1]

    yield make
    for client in clients:
        client.close()


def _task(served, classes: int = 3):
    """Support images, a name for each, and queries."""
    inputs = request(served.model, support=2 * classes)
    support, query = inputs["support_inputs"][0], inputs["query_inputs"][0]
    return support, [NAMES[position % classes] for position in range(2 * classes)], query


@pytest.mark.parametrize("classes", [3, 2])
def test_classes_have_names_and_the_librarys_probabilities(ask, images, classes):
    support, names, query = _task(images, classes)
    expected = images.in_process.adapt(support, names)
    client = ask("images")
    whole = client.adapt_and_predict(support, names, query)
    adapted = client.adapt(support, names)
    later = client.predict(adapted, query)
    for answer in (whole, later):
        assert answer.class_names == expected.class_names == tuple(sorted(NAMES[:classes]))
        np.testing.assert_allclose(answer.values, expected.predict(query), **CLOSE)
        assert list(answer.classes) == expected.classify(query)
    np.testing.assert_allclose(adapted.state, expected.packed(), **CLOSE)
    assert 0 < adapted.loss_after < adapted.loss_before


def test_image_files_are_read_as_training_reads_them(ask, images):
    support, names, query = _task(images)

    def rounded(examples):
        return np.round(examples * 255).astype(np.uint8)

    def files(examples):
        return [encoded(image) for image in rounded(examples)]

    # 1 / 255 as the one preprocessing function scales.
    expected = images.in_process.adapt(rounded(support) * np.float32(1 / 255), names)
    probabilities = expected.predict(rounded(query) * np.float32(1 / 255))
    client = ask("images")
    np.testing.assert_allclose(
        client.adapt_and_predict(files(support), names, files(query)).values, probabilities, **CLOSE
    )
    adapted = client.adapt(files(support), names)
    np.testing.assert_allclose(client.predict(adapted, files(query)).values, probabilities, **CLOSE)


def test_regression(ask, waves):
    inputs = request(waves.model)
    support, targets, query = (array[0] for array in inputs.values())
    expected = waves.in_process.adapt(support, targets).predict(query)
    client = ask("waves")
    whole = client.adapt_and_predict(support, targets, query)
    np.testing.assert_allclose(whole.values, expected, **CLOSE)
    assert whole.class_names is None
    with pytest.raises(TypeError, match="no classes"):
        _ = whole.classes
    # One value a target may come without its axis.
    np.testing.assert_allclose(client.predict(client.adapt(support, targets[:, 0]), query).values, expected, **CLOSE)


def test_no_queries_no_answers(ask, images, waves):
    support, names, _ = _task(images)
    assert ask("images").adapt_and_predict(support, names, []).values.shape == (0, 3)
    inputs = request(waves.model)
    support, targets, _ = (array[0] for array in inputs.values())
    assert ask("waves").predict(ask("waves").adapt(support, targets), np.zeros((0, 1))).values.shape == (0, 1)


def test_an_adapted_task_outlives_its_client(ask, images, tmp_path):
    support, names, query = _task(images)
    first = ask("images")
    adapted = first.adapt(support, names)
    adapted.save(tmp_path / "task.npz")
    again = ask("images").predict(Adapted.load(tmp_path / "task.npz"), query)
    np.testing.assert_array_equal(again.values, first.predict(adapted, query).values)
    assert [path.name for path in tmp_path.iterdir()] == ["task.npz"]


def test_a_client_outlives_the_version_that_it_first_met(ask, images):
    support, names, query = _task(images)
    client = ask("images")
    now = client.interface()
    expected = client.adapt_and_predict(support, names, query).values
    # What a version of other images, and one of fewer classes, would have left behind.
    for before in ({"input_shape": (8, 8, 1)}, {"outputs": 2}):
        client._interfaces[next(iter(client._interfaces))] = dataclasses.replace(now, **before)
        np.testing.assert_array_equal(client.adapt_and_predict(support, names, query).values, expected)
    assert client.interface() == now
    with pytest.raises(ClientError, match="received 3 and 2"):
        client.adapt_and_predict(support[:3], names[:2], query)


def test_a_version_that_is_gone_says_adapt_again(ask, images):
    support, names, query = _task(images)
    client = ask("images")
    gone = dataclasses.replace(client.adapt(support, names), version=99)
    with pytest.raises(RequestError, match="version 99 of images, which is not served any more: adapt") as caught:
        client.predict(gone, query)
    assert caught.value.code == "NOT_FOUND"
    with pytest.raises(ClientError, match="adapted by the model other, not by images"):
        client.predict(dataclasses.replace(gone, model="other"), query)


def _diverging(client, served):
    support, targets, query = (array[0] for array in request(served.model).values())
    client.adapt(support * 1e18, targets * 1e18)


def _not_finite(client, served):
    support, targets, query = (array[0] for array in request(served.model).values())
    client.adapt_and_predict(support, targets, query * np.nan)


def _of_another_model(client, served):
    support, targets, query = (array[0] for array in request(served.model).values())
    adapted = client.adapt(support, targets)
    client.predict(dataclasses.replace(adapted, fingerprint=adapted.fingerprint ^ 1), query)


@pytest.mark.parametrize(
    "fail, code",
    [
        (_diverging, status.DIVERGED),
        (_not_finite, status.NON_FINITE_INPUT),
        (_of_another_model, status.STATE_OF_ANOTHER_MODEL),
    ],
)
def test_a_status_is_an_error_that_says_what_to_do(ask, waves, fail, code):
    with pytest.raises(TaskError) as caught:
        fail(ask("waves"), waves)
    assert caught.value.statuses == (code,)
    assert status.MEANINGS[code] in str(caught.value)


def test_of_several_tasks_every_faulty_one_is_named():
    message = str(TaskError([status.OK, status.SIZE, 77]))
    assert f"status {status.SIZE} of task 1 ({status.MEANINGS[status.SIZE]})" in message
    assert "status 77 of task 2 (unknown to this client)" in message and "task 0" not in message


_IMAGE = np.zeros((3, 16, 16, 1), np.float32)
REFUSED = {
    "another shape": (np.zeros((3, 8, 8, 1)), NAMES, _IMAGE, r"shape \[examples, 16, 16, 1\], received \[3, 8, 8, 1\]"),
    "queries of another shape": (_IMAGE, NAMES, _IMAGE[..., 0], r"received \[3, 16, 16\]"),
    "no numbers": ([["a"]] * 3, NAMES, _IMAGE, "must be numbers, or the bytes of image files"),
    "a broken file": ([b"no image"] * 3, NAMES, _IMAGE, "file 0"),
    "too many classes": (np.zeros((4, 16, 16, 1)), [*NAMES, "dog"], _IMAGE, "2 to 3 classes apart, received 4: ant"),
    "one class": (_IMAGE, ["cat"] * 3, _IMAGE, "received 1: cat"),
    "a target too few": (_IMAGE, NAMES[:2], _IMAGE, "received 3 and 2"),
    "no support": (_IMAGE[:0], [], _IMAGE, "received 0 and 0"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_served_is_not_sent(ask, name):
    support, targets, query, message = REFUSED[name]
    with pytest.raises(ClientError, match=message):
        ask("images").adapt_and_predict(support, targets, query)


@pytest.mark.parametrize(
    "support, targets, message",
    [
        ([b"\x89PNG"] * 2, [0.0, 1.0], "takes no image files but arrays"),
        (np.zeros((2, 1)), ["a", "b"], "targets of a regression must be numbers"),
        (np.zeros((2, 1)), np.zeros((2, 3)), r"shape \[support, 1\], received \[2, 3\]"),
    ],
)
def test_what_a_regression_does_not_take(ask, support, targets, message):
    with pytest.raises(ClientError, match=message):
        ask("waves").adapt(support, targets)


def test_models_that_are_not_there_or_not_ours(ask):
    with pytest.raises(RequestError, match="Check the model's name") as caught:
        ask("nobody").interface()
    assert caught.value.code == "NOT_FOUND"
    with pytest.raises(ClientError, match=r"signature serving_default that adapts and predicts; this one has .*both"):
        ask("halver", version=1).interface()
    with pytest.raises(RequestError) as caught:
        ask("images", version_label="nobody").interface()
    assert caught.value.code in ("NOT_FOUND", "INVALID_ARGUMENT")
    assert ask("images", version=1).interface().version == 1

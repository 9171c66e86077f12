"""Clients of a server that joins requests: all sizes at once, no error, and the answers that each would get alone."""

from __future__ import annotations

import dataclasses
import re
import threading

import numpy as np
import pytest

from export.client import ClientError, FewShotClient, RequestError, Settings, Task, TaskError
from export.graph.buckets import Service
from export.requests.form import Bucket
from tests.export.batching_session import BatchingSession
from tests.export.served import Served, image_model, request, saved, wave_model
from tests.export.served_nodes import node_request
from tests.helpers.drawn_images import encoded

BUCKETS = (Bucket(6, 4), Bucket(6, 1), Bucket(12, 8))
CLOSE = {"rtol": 1e-5, "atol": 1e-5}
NAMES = ("cat", "ant", "bee")


@pytest.fixture(scope="module")
def bucketed_images(tmp_path_factory) -> Served:
    """A classifier whose normalisation is over the batch: one row of padding would change every answer."""
    model = dataclasses.replace(image_model(steps=1), buckets=(Bucket(6, 4), Bucket(12, 8)))
    return saved(model, tmp_path_factory.mktemp("images") / "1")


@pytest.fixture(scope="module")
def bucketed_waves(tmp_path_factory) -> Served:
    """A regression whose answers do not depend on each other, with limits."""
    model = Service(True, BUCKETS, most_support=20).with_buckets(wave_model(), ())
    limited = Service(True, BUCKETS, most_support=20).with_limits(model, (), True)
    return saved(limited, tmp_path_factory.mktemp("waves") / "1")


@pytest.fixture
def together(monkeypatch):
    """Runs functions of a client each, all at once, against one joining server; gives what they gave or raised."""

    def run(served, *functions, settings: Settings | None = None, max_batch_size: int = 16):
        session = BatchingSession(served.directory, len(functions), max_batch_size)
        monkeypatch.setattr("export.client.few_shot_client.connect", lambda *given: session)
        results: list = [None] * len(functions)

        def work(position: int) -> None:
            try:
                results[position] = functions[position](FewShotClient("grpc://h:1", "m", settings))
            except Exception as error:
                results[position] = error
            finally:
                session.leave()

        threads = [threading.Thread(target=work, args=(position,)) for position in range(len(functions))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return results, session.batches

    return run


def _image_task(served, support: int, query: int, seed: int) -> Task:
    inputs = request(served.model, support=support, query=query, seed=seed)
    names = [NAMES[position % 3] for position in range(support)]
    return Task(inputs["support_inputs"][0], names, inputs["query_inputs"][0])


def _wave_task(served, support: int, query: int, seed: int) -> Task:
    inputs = request(served.model, support=support, query=query, seed=seed)
    return Task(*(array[0] for array in inputs.values()))


def _expected(served, task: Task) -> np.ndarray:
    return served.in_process.adapt(task.support_inputs, task.support_targets).predict(task.query_inputs)


SIZES = [(3, 2), (6, 4), (5, 1), (12, 8), (7, 3), (4, 4), (11, 1), (2, 7)]


@pytest.mark.parametrize("kind", ["images", "waves"])
def test_requests_of_all_sizes_are_joined_and_answered_as_alone(together, kind, bucketed_images, bucketed_waves):
    served, make = {"images": (bucketed_images, _image_task), "waves": (bucketed_waves, _wave_task)}[kind]
    tasks = [make(served, *size, seed) for seed, size in enumerate(SIZES)]

    def whole_and_halves(task):
        def ask(client):
            whole = client.adapt_and_predict(*task[:3]).values
            return whole, client.predict(client.adapt(*task[:2]), task.query_inputs).values

        return ask

    results, batches = together(served, *map(whole_and_halves, tasks))
    for task, result in zip(tasks, results, strict=True):
        assert not isinstance(result, Exception), result
        for values in result:
            np.testing.assert_allclose(values, _expected(served, task), **CLOSE)
    # Three rounds of eight requests, which shared runs: sizes that fit one bucket were joined.
    assert sum(count for _, count in batches) == 3 * len(SIZES) > len(batches) + 8
    assert all("padded" in signature for signature, _ in batches)


def test_files_are_joined_too(together, bucketed_images):
    def rounded(images):
        return np.round(images * 255).astype(np.uint8)

    tasks = [_image_task(bucketed_images, *size, seed) for seed, size in enumerate([(3, 2), (6, 4), (5, 3)])]
    asked = [
        Task(
            [encoded(image) for image in rounded(task.support_inputs)],
            task.support_targets,
            [encoded(image) for image in rounded(task.query_inputs)],
        )
        for task in tasks
    ]
    results, batches = together(
        bucketed_images, *(lambda client, task=task: client.adapt_and_predict(*task[:3]).values for task in asked)
    )
    assert batches == [("adapt_and_predict_bytes_padded_6_4", 3)]
    for task, values in zip(tasks, results, strict=True):
        scaled = task._replace(
            support_inputs=rounded(task.support_inputs) * np.float32(1 / 255),
            query_inputs=rounded(task.query_inputs) * np.float32(1 / 255),
        )
        np.testing.assert_allclose(values, _expected(bucketed_images, scaled), **CLOSE)


def test_without_buckets_other_sizes_fail_each_other_and_the_error_says_what_to_do(together, waves):
    tasks = [_wave_task(waves, support, 4, 0) for support in (3, 5)]
    results, _ = together(waves, *(lambda client, task=task: client.adapt_and_predict(*task[:3]) for task in tasks))
    for error in results:
        assert isinstance(error, RequestError) and error.code == "FAILED_PRECONDITION"
        assert "export the model with --batching and pad to its shape buckets" in str(error)
    (error,), _ = together(
        waves, lambda client: client.adapt_and_predict(*tasks[0][:3]), settings=Settings(padding="always")
    )
    assert "has no shape buckets to pad requests to" in str(error)


def test_a_bucket_is_asked_again_after_a_stranger_had_spoilt_it(together, bucketed_waves):
    task = _wave_task(bucketed_waves, 5, 3, 0)

    def stranger(client):
        interface = client.interface()
        inputs = {"support_inputs": np.zeros((1, 7, 1)), "support_targets": np.zeros((1, 6, 1))}
        inputs |= {"query_inputs": np.zeros((1, 4, 1)), "support_size": np.ones(1), "query_size": np.ones(1)}
        return client._connection.predict(None, "adapt_and_predict_padded_6_4", inputs, interface.dtypes)

    results, batches = together(bucketed_waves, lambda client: client.adapt_and_predict(*task[:3]).values, stranger)
    np.testing.assert_allclose(results[0], _expected(bucketed_waves, task), **CLOSE)
    assert isinstance(results[1], RequestError) and [count for _, count in batches] == [2, 1]


def test_a_client_outlives_the_buckets_that_it_first_met(together, bucketed_waves):
    task = _wave_task(bucketed_waves, 5, 3, 0)

    def ask(client):
        now = client.interface()
        # It fits better than any other, and is there no more.
        gone = {
            name: (-1, 5 if name.startswith("support") else 3, *shape[2:]) if len(shape) > 1 else shape
            for name, shape in now.shapes["adapt_and_predict_padded_6_4"].items()
        }
        name = "adapt_and_predict_padded_5_3"
        before = dataclasses.replace(now, shapes={**now.shapes, name: gone}, dtypes={**now.dtypes, name: {}})
        client._interfaces[client._choice] = before
        return client.adapt_and_predict(*task[:3]).values

    (values,), batches = together(bucketed_waves, ask)
    np.testing.assert_allclose(values, _expected(bucketed_waves, task), **CLOSE)
    assert batches == [("adapt_and_predict_padded_6_4", 1)]


def test_models_on_nodes_are_asked_as_they_are(together, nodes):
    inputs = {name: array[0] for name, array in node_request().items()}
    graph = inputs["node_features"], inputs["edges"]
    task = Task(inputs["support_nodes"], inputs["support_labels"], inputs["query_nodes"], graph)
    (answer,), batches = together(nodes, lambda client: client.adapt_and_predict(*task))
    assert answer.values.shape == (5, 2) and batches == [("serving_default", 1)]
    (error,), batches = together(
        nodes, lambda client: client.adapt_and_predict(*task), settings=Settings(padding="always")
    )
    assert type(error) is ClientError and "serve it without batching" in str(error) and not batches


def test_many_tasks_go_in_as_few_requests_as_a_batch_allows(together, bucketed_waves, bucketed_images):
    tasks = [_wave_task(bucketed_waves, *size, seed) for seed, size in enumerate(SIZES * 2)]
    (answers,), batches = together(
        bucketed_waves,
        lambda client: client.adapt_and_predict_tasks(tasks),
        settings=Settings(tasks_per_request=4),
        max_batch_size=4,
    )
    for task, answer in zip(tasks, answers, strict=True):
        np.testing.assert_allclose(answer.values, _expected(bucketed_waves, task), **CLOSE)
    assert len(batches) == 5
    (error,), _ = together(bucketed_waves, lambda client: client.adapt_and_predict_tasks(tasks), max_batch_size=4)
    assert "Send fewer tasks at a time (--tasks_per_request)" in str(error)


def test_nothing_is_answered_without_asking(together, bucketed_waves):
    task = _wave_task(bucketed_waves, 5, 3, 0)
    (answers,), batches = together(
        bucketed_waves,
        lambda client: (
            client.adapt_and_predict_tasks([]),
            client.adapt_and_predict_tasks([task._replace(query_inputs=[]), task]),
        ),
    )
    assert answers[0] == [] and [len(answer.values) for answer in answers[1]] == [0, 3]
    assert [count for _, count in batches] == [1]


def test_each_faulty_task_is_named_by_its_place(together, bucketed_waves):
    sound = _wave_task(bucketed_waves, 5, 3, 0)
    broken = sound._replace(query_inputs=sound.query_inputs * np.nan)
    (error,), _ = together(bucketed_waves, lambda client: client.adapt_and_predict_tasks([sound, broken, sound]))
    assert isinstance(error, TaskError) and error.statuses == (0, 3, 0)


def test_more_queries_than_a_bucket_holds_are_split_only_if_that_is_asked_for(together, bucketed_waves):
    task = _wave_task(bucketed_waves, 5, 19, 0)

    def whole_and_halves(client):
        return [
            client.adapt_and_predict(*task[:3]).values,
            client.predict(client.adapt(*task[:2]), task.query_inputs).values,
        ]

    (results,), _ = together(bucketed_waves, whole_and_halves, settings=Settings(split_queries=True))
    for values in results:
        np.testing.assert_allclose(values, _expected(bucketed_waves, task), **CLOSE)
    (error,), batches = together(bucketed_waves, whole_and_halves)
    assert type(error) is ClientError and "holds 8 queries, received 19: send fewer at a time" in str(error)
    too_many = _wave_task(bucketed_waves, 13, 3, 0)
    (error,), more = together(bucketed_waves, lambda client: client.adapt_and_predict(*too_many[:3]))
    assert type(error) is ClientError and "holds 12 support examples, received 13: send fewer" in str(error)
    # Neither was sent.
    assert not batches and not more


def test_padding_can_be_turned_off(together, bucketed_waves):
    task = _wave_task(bucketed_waves, 13, 30, 0)
    (values,), batches = together(
        bucketed_waves,
        lambda client: client.adapt_and_predict(*task[:3]).values,
        settings=Settings(padding="never"),
    )
    np.testing.assert_allclose(values, _expected(bucketed_waves, task), **CLOSE)
    assert batches == [("serving_default", 1)]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"query_inputs": np.zeros((1, 4), np.float32)}, r"shape \[any, any, 1\], received \[1, 4\]"),
        ({"query_inputs": np.zeros((1, 4, 2), np.float32)}, r"received \[1, 4, 2\]"),
        ({"query_inputs": np.zeros((2, 4, 1), np.float32)}, r"as many of each input, received \[1, 2\]"),
        ({"edges": np.zeros((1, 4, 2), np.int32)}, "takes query_inputs, support_inputs, support_targets, received"),
        ({}, r"1 or more tasks.* received \[0\]"),
    ],
)
def test_what_would_fail_its_neighbours_is_not_sent(together, bucketed_waves, changed, message):
    inputs = request(bucketed_waves.model)
    spoilt = {**inputs, **changed} if changed else {name: array[:0] for name, array in inputs.items()}

    def ask(client):
        return client._ask(None, client.interface(), "serving_default", spoilt)

    (error,), batches = together(bucketed_waves, ask)
    assert type(error) is ClientError and not batches
    assert re.search(message, str(error))

"""Clients of a server that joins requests: all sizes at once, no error, and the answers that each would get alone."""

import dataclasses
import re
import threading

import numpy as np
import pytest

from cml_tf.adaptation import SGD
from cml_tf.learners import mlp
from cml_tf.problems import Classification
from export.client import ClientError, FewShotClient, RequestError, Settings, Task, TaskError
from export.graph.buckets import Service
from export.requests.form import Bucket
from tests.export.batching_session import BatchingSession
from tests.export.served import CLOSE, Served, exportable, inputs_of, node_request, saved, wave_model
from tests.helpers.drawn_images import encoded

pytestmark = pytest.mark.slow

BUCKETS = (Bucket(6, 4), Bucket(6, 1), Bucket(12, 8))
NAMES = ("cat", "ant", "bee")
SIZES = [(3, 2), (6, 4), (5, 1), (12, 8), (4, 4), (11, 1)]


@pytest.fixture(scope="module")
def images_in_buckets(tmp_path_factory) -> Served:
    """A classifier whose normalisation is over the batch: one row of padding would change every answer."""
    learner = mlp(len(NAMES), (4, 4, 1), hidden=(4,), normalisation="batch_transductive")
    made = exportable(learner, Classification(len(NAMES)), SGD(0.1), 1)
    model = dataclasses.replace(made, buckets=(Bucket(6, 4),))
    return saved(model, tmp_path_factory.mktemp("images") / "1")


@pytest.fixture(scope="module")
def bucketed(tmp_path_factory) -> Served:
    """A regression whose answers do not depend on each other, with limits."""
    service = Service(True, BUCKETS, most_support=20)
    model = service.with_limits(service.with_signatures(wave_model(), ()), (), True)
    return saved(model, tmp_path_factory.mktemp("waves") / "1")


@pytest.fixture
def together(monkeypatch):
    """Runs functions of a client each, all at once, against one joining server; gives what they gave or raised."""

    def run(served, *functions, max_batch_size: int = 16, **settings):
        session = BatchingSession(served.directory, len(functions), max_batch_size)
        monkeypatch.setattr("export.client.few_shot_client.connect", lambda *given: session)
        results: list = [None] * len(functions)

        def work(position: int) -> None:
            try:
                results[position] = functions[position](FewShotClient("grpc://h:1", "m", Settings(**settings)))
            except Exception as error:
                results[position] = error
            finally:
                session.leave()

        threads = [threading.Thread(target=work, args=(position,)) for position in range(len(functions))]
        for act in (threading.Thread.start, threading.Thread.join):
            for thread in threads:
                act(thread)
        return results, session.batches

    return run


def _task(served, support: int, query: int, seed: int = 0) -> Task:
    inputs = inputs_of(served.model, support=support, query=query, seed=seed).values()
    examples, targets, queries = (array[0] for array in inputs)
    return Task(examples, [NAMES[label] for label in targets] if served.model.classification else targets, queries)


def _check(served, task: Task, *answers: np.ndarray) -> None:
    expected = served.in_process.adapt(task.support_inputs, task.support_targets).predict(task.query_inputs)
    for values in answers:
        np.testing.assert_allclose(values, expected, **CLOSE)


def _whole(task: Task):
    return lambda client: client.adapt_and_predict_tasks([task])[0].values


def _whole_and_halves(task: Task):
    def ask(client):
        adapted = client.adapt(task.support_inputs, task.support_targets)
        return _whole(task)(client), client.predict(adapted, task.query_inputs).values

    return ask


@pytest.mark.parametrize(
    ("served", "sizes"), [("images_in_buckets", SIZES[:3]), ("bucketed", SIZES)], indirect=["served"]
)
def test_requests_of_all_sizes_are_joined_and_answered_as_alone(together, served, sizes):
    tasks = [_task(served, *size, seed) for seed, size in enumerate(sizes)]
    results, batches = together(served, *map(_whole_and_halves, tasks))
    for task, result in zip(tasks, results, strict=True):
        assert not isinstance(result, Exception), result
        _check(served, task, *result)
    # Three rounds of requests, which shared runs: sizes that fit one bucket were joined.
    assert sum(count for _, count in batches) == 3 * len(sizes) > len(batches) + len(sizes)
    assert all("padded" in signature for signature, _ in batches)


def test_files_are_joined_too(together, images_in_buckets):
    def levels(images):
        return np.round(images * 255).astype(np.uint8)

    tasks = [_task(images_in_buckets, *size, seed) for seed, size in enumerate([(3, 2), (6, 4), (5, 3)])]
    files = [
        Task(list(map(encoded, levels(support))), names, list(map(encoded, levels(query))))
        for support, names, query, *_ in tasks
    ]
    results, batches = together(images_in_buckets, *map(_whole, files))
    assert batches == [("adapt_and_predict_bytes_padded_6_4", 3)]
    for (support, names, query, *_), values in zip(tasks, results, strict=True):
        shown, asked = (levels(images) * np.float32(1 / 255) for images in (support, query))
        _check(images_in_buckets, Task(shown, names, asked), values)


def test_without_buckets_other_sizes_fail_each_other_and_the_error_says_what_to_do(together, waves):
    tasks = [_task(waves, support, 4) for support in (3, 5)]
    for error in together(waves, *map(_whole, tasks))[0]:
        assert isinstance(error, RequestError) and error.code == "FAILED_PRECONDITION" and "--batching" in str(error)
    (error,), _ = together(waves, _whole(tasks[0]), padding="always")
    assert "no shape buckets" in str(error)


def test_a_bucket_is_asked_again_after_a_stranger_had_spoilt_it(together, bucketed):
    def stranger(client):
        inputs = {"support_inputs": np.zeros((1, 7, 1)), "support_targets": np.zeros((1, 6, 1))}
        inputs |= {"query_inputs": np.zeros((1, 4, 1)), "support_size": np.ones(1), "query_size": np.ones(1)}
        return client._connection.predict(None, "adapt_and_predict_padded_6_4", inputs, client.interface().dtypes)

    task = _task(bucketed, 5, 3)
    (values, error), batches = together(bucketed, _whole(task), stranger)
    _check(bucketed, task, values)
    assert isinstance(error, RequestError) and [count for _, count in batches] == [2, 1]


def test_a_client_outlives_the_buckets_that_it_first_met(together, bucketed):
    task = _task(bucketed, 5, 3)

    def ask(client):
        now, name = client.interface(), "adapt_and_predict_padded_5_3"
        # It fits better than any other, and is there no more.
        gone = {
            key: (-1, 5 if key.startswith("support") else 3, *shape[2:]) if len(shape) > 1 else shape
            for key, shape in now.shapes["adapt_and_predict_padded_6_4"].items()
        }
        before = dataclasses.replace(now, shapes={**now.shapes, name: gone}, dtypes={**now.dtypes, name: {}})
        client._interfaces[client._choice] = before
        return _whole(task)(client)

    (values,), batches = together(bucketed, ask)
    _check(bucketed, task, values)
    assert batches == [("adapt_and_predict_padded_6_4", 1)]


def test_models_on_nodes_are_asked_as_they_are(together, nodes):
    features, edges, support, labels, queries = (array[0] for array in node_request().values())
    task = Task(support, labels, queries, (features, edges))
    (values,), batches = together(nodes, _whole(task))
    assert values.shape == (5, 2) and batches == [("serving_default", 1)]
    (error,), batches = together(nodes, _whole(task), padding="always")
    assert type(error) is ClientError and "without batching" in str(error) and not batches


def test_many_tasks_go_in_as_few_requests_as_a_batch_allows_and_faulty_ones_are_named(together, bucketed):
    tasks = [_task(bucketed, *size, seed) for seed, size in enumerate(SIZES * 2)]

    def ask(client):
        return client.adapt_and_predict_tasks(tasks)

    (answers,), batches = together(bucketed, ask, tasks_per_request=4, max_batch_size=4)
    for task, answer in zip(tasks, answers, strict=True):
        _check(bucketed, task, answer.values)
    assert len(batches) == 4
    (error,), _ = together(bucketed, ask, max_batch_size=4)
    assert "--tasks_per_request" in str(error)
    # Nothing is answered without asking.
    task = tasks[0]
    several = [[], [task._replace(query_inputs=[]), task]]
    (answers,), batches = together(bucketed, lambda client: [client.adapt_and_predict_tasks(some) for some in several])
    assert answers[0] == [] and [len(answer.values) for answer in answers[1]] == [0, len(task.query_inputs)]
    assert [count for _, count in batches] == [1]
    broken = task._replace(query_inputs=task.query_inputs * np.nan)
    (error,), _ = together(bucketed, lambda client: client.adapt_and_predict_tasks([task, broken, task]))
    assert isinstance(error, TaskError) and error.statuses == (0, 3, 0)
    (error,), _ = together(bucketed, lambda client: client.adapt_and_predict_tasks([several[1][0], broken]))
    assert error.statuses == (0, 3)


def test_more_than_a_bucket_holds_is_split_or_not_padded_only_if_that_is_asked_for(together, bucketed):
    task = _task(bucketed, 5, 19)
    (results,), _ = together(bucketed, _whole_and_halves(task), split_queries=True)
    _check(bucketed, task, *results)
    for support, query, message in ((5, 19, "queries must be at most 8"), (13, 3, "examples must be at most 12")):
        (error,), batches = together(bucketed, _whole(_task(bucketed, support, query)))
        assert type(error) is ClientError and message in str(error) and not batches
    task = _task(bucketed, 13, 30)
    (values,), batches = together(bucketed, _whole(task), padding="never")
    _check(bucketed, task, values)
    assert batches == [("serving_default", 1)]


STRAY = [
    ({"query_inputs": np.zeros((1, 4), np.float32)}, r"\[any, any, 1\].* \[1, 4\]"),
    ({"query_inputs": np.zeros((2, 4, 1), np.float32)}, r"\[1, 2\]"),
    ({"edges": np.zeros((1, 4, 2), np.int32)}, "support_targets"),
    ({name: np.zeros((0, 4, 1)) for name in ("support_inputs", "support_targets", "query_inputs")}, r"\[0\]"),
]


@pytest.mark.parametrize(("changed", "message"), STRAY)
def test_what_would_fail_its_neighbours_is_not_sent(together, bucketed, changed, message):
    spoilt = {**inputs_of(bucketed.model), **changed}
    ask = lambda client: client._ask(None, client.interface(), "serving_default", spoilt)  # noqa: E731
    (error,), batches = together(bucketed, ask)
    assert type(error) is ClientError and not batches and re.search(message, str(error))

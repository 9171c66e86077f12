"""Clients that ask at the same time get their own answers, and tasks that share a request do too."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import repeat

import numpy as np
import pytest

from benchmarks.serving.clients import GrpcClient, RestClient, ask, differences
from benchmarks.serving.load import alone
from benchmarks.serving.models import write_images, write_waves
from benchmarks.serving.questions import questions
from benchmarks.serving.server_process import Target, serving
from tests.export.served import request, state_of, support_only

_CLIENTS = 16


def test_a_thousand_concurrent_requests(server, waves, images):
    target = Target(server.grpc_address, f"127.0.0.1:{server.rest_port}", server.process.pid)
    asked = [
        *questions("waves", waves.directory, 130, seed=1, tasks=1),
        *questions("images", images.directory, 20, seed=1, tasks=1),
    ]
    _each_gets_its_own(target, asked, 1000)


@pytest.mark.long
@pytest.mark.slow
def test_ten_thousand_concurrent_requests_at_full_size(tmp_path):
    versions = {"waves": tmp_path / "waves" / "1", "images": tmp_path / "images" / "1"}
    write_waves(versions["waves"])
    write_images(versions["images"], filters=8)
    with serving(list(versions.values())) as target:
        _each_gets_its_own(target, questions("waves", versions["waves"], 500, seed=2, tasks=1), 10_000)
        _each_gets_its_own(target, questions("images", versions["images"], 100, seed=2), 300)


@pytest.mark.parametrize("model", ["waves", "images"])
def test_joined_on_axis_0(server, model, request: pytest.FixtureRequest):
    tasks = _tasks(request.getfixturevalue(model).model)
    _assert_unmixed(lambda inputs: server.predict(model, **inputs), tasks)
    adapt = [support_only(inputs) for inputs in tasks]
    _assert_unmixed(lambda inputs: server.predict(model, "adapt", **inputs), adapt)
    states = [state_of(server.predict(model, "adapt", **inputs)) for inputs in adapt]
    predict = [{**state, "query_inputs": inputs["query_inputs"]} for state, inputs in zip(states, tasks, strict=True)]
    _assert_unmixed(lambda inputs: server.predict(model, "predict", **inputs), predict)


@pytest.mark.parametrize("model", ["waves", "images"])
def test_a_signature_without_task_axis_would_mix_clients(model, request: pytest.FixtureRequest):
    served = request.getfixturevalue(model)
    target = "support_labels" if served.model.classification else "support_targets"

    def naive(inputs):
        task = served.in_process.adapt(inputs["support_inputs"], inputs[target])
        return {"answer": np.asarray(task.predict(inputs["query_inputs"]))}

    # What a server that batches would make of it: rows of one client behind those of the other.
    tasks = [{name: array[0] for name, array in inputs.items()} for inputs in _tasks(served.model)]
    with pytest.raises(AssertionError, match="Not equal to tolerance"):
        _assert_unmixed(naive, tasks)


def _tasks(model):
    return [request(model, seed=seed) for seed in range(5)]


def _assert_unmixed(answer, tasks):
    """Together on axis 0 as each one alone."""
    separate = [answer(inputs) for inputs in tasks]
    together = answer({name: np.concatenate([inputs[name] for inputs in tasks]) for name in tasks[0]})
    for name, array in together.items():
        np.testing.assert_allclose(array, np.concatenate([one[name] for one in separate]), rtol=1e-5, atol=1e-5)


def _each_gets_its_own(target, asked, count):
    """Asks `count` times from many clients, over both protocols, in mixed order; all answers as alone, bit for bit."""
    expected = alone(target, asked)
    order = np.random.default_rng(0).permutation(np.resize(np.arange(len(asked)), count))
    with ThreadPoolExecutor(_CLIENTS) as pool:
        shares = np.array_split(order, _CLIENTS)
        wrong = sum(pool.map(_wrong_answers, range(_CLIENTS), shares, repeat((target, asked, expected))), [])
    assert not wrong, wrong[:5]


def _wrong_answers(number, share, exchange):
    target, asked, expected = exchange
    client = RestClient(target.rest) if number % 2 else GrpcClient(target.grpc)
    try:
        return [
            (asked[position].kind, unequal)
            for position in share
            if (unequal := differences(ask(client, asked[position]), expected[position]))
        ]
    finally:
        client.close()

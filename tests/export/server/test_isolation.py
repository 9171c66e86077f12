"""Clients that ask at the same time get their own answers."""

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
        answers = ((position, ask(client, asked[position])) for position in share)
        found = [(asked[at].kind, differences(answer, expected[at])) for at, answer in answers]
        return [(kind, unequal) for kind, unequal in found if unequal]
    finally:
        client.close()

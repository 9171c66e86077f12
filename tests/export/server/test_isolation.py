"""Clients that ask at the same time get their own answers; the generator of load would notice if not."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from itertools import repeat

import numpy as np
import pytest

from benchmarks.serving.clients import GrpcClient, RestClient, ask, differences
from benchmarks.serving.load import Answered, Load, alone, load
from benchmarks.serving.load_report import report, table
from benchmarks.serving.memory import Sample, slope
from benchmarks.serving.models import write_images, write_waves
from benchmarks.serving.questions import ADAPT_THEN_PREDICT, STATE, questions
from benchmarks.serving.server_process import Target, serving
from export.graph.specifications import input_specifications

_CLIENTS = 16


@pytest.fixture
def target(server):
    return Target(server.grpc_address, server.rest_address, server.pid)


@pytest.mark.slow
def test_a_thousand_concurrent_requests(target, waves, images):
    asked = questions("waves", waves.directory, 130, seed=1, tasks=1)
    _each_gets_its_own(target, [*asked, *questions("images", images.directory, 20, seed=1, tasks=1)], 1000)


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
    order = np.random.default_rng(0).permutation(np.resize(np.arange(len(asked)), count))
    shares, exchange = np.array_split(order, _CLIENTS), (target, asked, alone(target, asked))
    with ThreadPoolExecutor(_CLIENTS) as pool:
        wrong = sum(pool.map(_wrong_answers, range(_CLIENTS), shares, repeat(exchange)), [])
    assert not wrong, wrong[:5]


def _wrong_answers(number, share, exchange):
    target, asked, expected = exchange
    with closing(RestClient(target.rest) if number % 2 else GrpcClient(target.grpc)) as client:
        found = [(asked[at].kind, differences(ask(client, asked[at]), expected[at])) for at in share]
    return [(kind, unequal) for kind, unequal in found if unequal]


def test_an_error_under_load_would_be_noticed_and_there_is_none(target, waves, images, nodes):
    models = {"waves": waves, "images": images, "nodes": nodes}
    asked = [question for name, made in models.items() for question in questions(name, made.directory, 24, seed=0)]
    wanted = input_specifications(nodes.model)
    on_nodes = [question for question in asked if question.model == "nodes"]
    assert {question.signature for question in on_nodes} == set(wanted)
    for question in on_nodes:
        assert set(question.inputs) == set(wanted[question.signature])
        assert question.query is None or set(question.query) | set(STATE) == set(wanted["predict"])
    expected = alone(target, asked)
    of_somebody_else = load(target, asked, expected[1:] + expected[:1], 2, 0.3)
    assert of_somebody_else.errors and not of_somebody_else.answered
    done = load(target, asked, expected, 16, 1.5)
    assert not done.errors, done.errors
    kinds = {f"{model}: {kind}" for model in models for kind in (ADAPT_THEN_PREDICT, "adapt_and_predict_padded")}
    assert {answer.kind for answer in done.answered} >= kinds
    assert {answer.protocol for answer in done.answered} == {"gRPC", "REST"}
    result = report(done, 16)
    assert result["answers"] == sum(figures["answers"] for figures in result["kinds"].values())
    assert result["memory_mib"]["first"] > 0 and "0 errors" in table(result).caption


def test_growth_of_memory_is_told_from_noise():
    times, noise = np.linspace(0, 120, 240), np.random.default_rng(0).normal(0, 3, 240)

    def samples(mib_per_minute, until=120):
        sizes = 500 + noise + mib_per_minute * np.minimum(times, until) / 60
        return [Sample(t, int(size * 2**20)) for t, size in zip(times, sizes, strict=True)]

    # What fills at the start does not count.
    for made, low, high in ((samples(0), -9, 0), (samples(10), 5, 10), (samples(60, until=40), -99, 0)):
        assert low < slope(made).low < high
    assert abs(slope(samples(10)).mib_per_minute - 10) < slope(samples(10)).ci95
    assert slope([Sample(0.0, 1), Sample(1.0, 2)]) is None
    for made, grows in ((samples(60), True), (samples(0), False)):
        result = report(Load([Answered("gRPC", "waves: adapt", 0.5, 2)], [], made, 120.0), 1)
        assert result["memory_grows"] is grows and result["kinds"]["gRPC, waves: adapt"]["p50"] == 500.0

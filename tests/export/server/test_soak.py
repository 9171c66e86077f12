"""Load for a few seconds: no error, and every answer as it is alone."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.serving.load import Answered, Load, alone, load
from benchmarks.serving.load_report import report, table
from benchmarks.serving.memory import Sample, slope
from benchmarks.serving.questions import ADAPT_THEN_PREDICT, STATE, questions
from benchmarks.serving.server_process import Target
from export.graph.specifications import input_specifications

_SECONDS = 5.0
_CLIENTS = 16
_MIB = 2**20


@pytest.fixture
def target(server):
    return Target(server.grpc_address, f"127.0.0.1:{server.rest_port}", server.process.pid)


@pytest.fixture
def asked(waves, images, nodes):
    models = {"waves": waves, "images": images, "nodes": nodes}
    return [question for name, made in models.items() for question in questions(name, made.directory, 24, seed=0)]


def test_no_error_under_load(target, asked):
    done = load(target, asked, alone(target, asked), _CLIENTS, _SECONDS)
    assert not done.errors, done.errors
    kinds = {answer.kind for answer in done.answered}
    assert {"waves: adapt_and_predict_padded", f"images: {ADAPT_THEN_PREDICT}"} <= kinds
    assert {f"nodes: {kind}" for kind in (ADAPT_THEN_PREDICT, "adapt_and_predict_padded")} <= kinds
    assert {answer.protocol for answer in done.answered} == {"gRPC", "REST"}
    result = report(done, _CLIENTS)
    assert result["answers"] == sum(figures["answers"] for figures in result["kinds"].values())
    assert result["memory_mib"]["first"] > 0
    assert "0 errors" in table(result).caption


def test_answers_of_somebody_else_would_be_noticed(target, asked):
    expected = alone(target, asked)
    done = load(target, asked, expected[1:] + expected[:1], 2, 0.5)
    assert done.errors and not done.answered


def test_a_question_on_nodes_has_a_graph_in_each_of_its_calls(asked, nodes):
    on_nodes = [question for question in asked if question.model == "nodes"]
    assert {question.signature for question in on_nodes} == set(input_specifications(nodes.model))
    (halves,) = {question.kind for question in on_nodes if question.query is not None}
    assert halves == ADAPT_THEN_PREDICT
    for question in on_nodes:
        wanted = set(input_specifications(nodes.model)[question.signature])
        assert set(question.inputs) == wanted
        if question.query is not None:
            assert set(question.query) | set(STATE) == set(input_specifications(nodes.model)["predict"])
            assert {len(array) for array in question.query.values()} == {question.tasks}


def test_hardly_any_two_questions_are_alike(asked):
    contents = {repr([array.tolist() for array in question.inputs.values()]) for question in asked}
    # Of single image files there are only a few orders.
    assert len(contents) > 0.9 * len(asked)


def test_slope_of_memory():
    generator = np.random.default_rng(0)
    noise = generator.normal(0, 3 * _MIB, 240)
    times = np.linspace(0, 120, 240)
    flat = slope([Sample(t, int(500 * _MIB + n)) for t, n in zip(times, noise, strict=True)])
    assert flat is not None and flat.low < 0 < flat.mib_per_minute + flat.ci95
    growing = slope([Sample(t, int(500 * _MIB + n + 10 * _MIB * t / 60)) for t, n in zip(times, noise, strict=True)])
    assert growing is not None and growing.low > 5 and abs(growing.mib_per_minute - 10) < growing.ci95
    # What fills at the start does not count.
    early = slope([Sample(t, int(min(t, 40) * _MIB + n)) for t, n in zip(times, noise, strict=True)])
    assert early is not None and early.low < 0
    assert slope([Sample(0.0, 1), Sample(1.0, 2)]) is None


def test_growth_is_reported():
    samples = [Sample(t, int((500 + t) * _MIB)) for t in np.linspace(0, 120, 240)]
    done = Load([Answered("gRPC", "waves: adapt", 0.5, 2)], [], samples, 120.0)
    assert report(done, 1)["memory_grows"] is True
    done.memory = [Sample(t, 500 * _MIB) for t in np.linspace(0, 120, 240)]
    result = report(done, 1)
    assert result["memory_grows"] is False and result["kinds"]["gRPC, waves: adapt"]["p50"] == 500.0

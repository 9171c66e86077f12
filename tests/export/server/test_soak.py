"""The generator of load: it finds no error here, would find one, and tells a growing memory from a flat one."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.serving.load import Answered, Load, alone, load
from benchmarks.serving.load_report import report, table
from benchmarks.serving.memory import Sample, slope
from benchmarks.serving.questions import ADAPT_THEN_PREDICT, STATE, questions
from benchmarks.serving.server_process import Target
from export.graph.specifications import input_specifications

_MIB = 2**20


@pytest.fixture
def target(server):
    return Target(server.grpc_address, f"127.0.0.1:{server.rest_port}", server.process.pid)


@pytest.fixture
def asked(waves, images, nodes):
    models = {"waves": waves, "images": images, "nodes": nodes}
    return [question for name, made in models.items() for question in questions(name, made.directory, 24, seed=0)]


def test_an_error_under_load_would_be_noticed_and_there_is_none(target, asked):
    expected = alone(target, asked)
    of_somebody_else = load(target, asked, expected[1:] + expected[:1], 2, 0.5)
    assert of_somebody_else.errors and not of_somebody_else.answered
    done = load(target, asked, expected, 16, 2.5)
    assert not done.errors, done.errors
    on_nodes = {f"nodes: {kind}" for kind in (ADAPT_THEN_PREDICT, "adapt_and_predict_padded")}
    kinds = {"waves: adapt_and_predict_padded", f"images: {ADAPT_THEN_PREDICT}", *on_nodes}
    assert {answer.kind for answer in done.answered} >= kinds
    assert {answer.protocol for answer in done.answered} == {"gRPC", "REST"}
    result = report(done, 16)
    assert result["answers"] == sum(figures["answers"] for figures in result["kinds"].values())
    assert result["memory_mib"]["first"] > 0 and "0 errors" in table(result).caption


def test_a_question_on_nodes_has_a_graph_in_each_of_its_calls(asked, nodes):
    on_nodes = [question for question in asked if question.model == "nodes"]
    wanted = input_specifications(nodes.model)
    assert {question.signature for question in on_nodes} == set(wanted)
    for question in on_nodes:
        assert set(question.inputs) == set(wanted[question.signature])
        if question.query is not None:
            assert question.kind == ADAPT_THEN_PREDICT
            assert set(question.query) | set(STATE) == set(wanted["predict"])
            assert {len(array) for array in question.query.values()} == {question.tasks}


def test_growth_of_memory_is_told_from_noise():
    times, noise = np.linspace(0, 120, 240), np.random.default_rng(0).normal(0, 3, 240)

    def samples(mib_per_minute, until=120):
        sizes = 500 + noise + mib_per_minute * np.minimum(times, until) / 60
        return [Sample(t, int(size * _MIB)) for t, size in zip(times, sizes, strict=True)]

    # What fills at the start does not count.
    flat, growing, early = slope(samples(0)), slope(samples(10)), slope(samples(60, until=40))
    assert flat is not None and flat.low < 0 < flat.mib_per_minute + flat.ci95
    assert growing is not None and growing.low > 5 and abs(growing.mib_per_minute - 10) < growing.ci95
    assert early is not None and early.low < 0
    assert slope([Sample(0.0, 1), Sample(1.0, 2)]) is None
    for made, grows in ((samples(60), True), (samples(0), False)):
        result = report(Load([Answered("gRPC", "waves: adapt", 0.5, 2)], [], made, 120.0), 1)
        assert result["memory_grows"] is grows and result["kinds"]["gRPC, waves: adapt"]["p50"] == 500.0

"""Rows on nodes at a tiny size, and the first step of configurations on nodes."""

import sys
from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse

from benchmarks.performance.building import build_episode, build_method
from benchmarks.performance.configured import graph_like
from benchmarks.performance.contestant import ContestantError
from benchmarks.performance.first_step import first_step, measure, names, shipped
from benchmarks.performance.node_building import graph_arrays, node_context, random_graph
from benchmarks.performance.nodes import beside_the_peer, by_itself, propagated_once
from benchmarks.performance.work import CORA, LARGE_GRAPH
from cml_tf.experiments.settings import EXAMPLES

TINY = replace(CORA, nodes=60, edges=120, features=30, density=0.3, tasks=2, steps=2)
CONFIGURATIONS = {name: shipped(f"{name},smoke") for name in names()}


def test_a_random_graph_has_the_size_asked_for():
    graph = random_graph(CORA)
    assert (graph.nodes, graph.features.shape[1]) == (2708, 1433)
    assert 0.99 * CORA.edges < graph.edges <= CORA.edges
    assert graph.features.nnz == pytest.approx(0.0127 * 2708 * 1433, rel=0.01)
    assert (LARGE_GRAPH.nodes, LARGE_GRAPH.edges, LARGE_GRAPH.features) == (100_000, 1_000_000, 128)


def test_another_framework_is_given_the_same_graph():
    graph = random_graph(TINY)
    arrays = graph_arrays(graph, np.float64)
    rows, columns = arrays["edges"].T
    assert (rows < columns).all() and len(rows) == graph.edges
    there = scipy.sparse.coo_matrix((np.ones(len(rows)), (rows, columns)), graph.adjacency.shape)
    np.testing.assert_array_equal((there + there.T).toarray(), graph.adjacency.toarray())
    np.testing.assert_array_equal(arrays["features"], graph.features.toarray())


def test_simplified_convolutions_read_features_propagated_twice():
    graph = random_graph(TINY)
    once, twice = (node_context(graph, learner, "float64") for learner in ("gcn", "sgc"))
    np.testing.assert_array_equal(once.adjacency.values, twice.adjacency.values)

    def dense(matrix, columns):
        parts = (matrix.values.numpy(), matrix.columns.numpy(), matrix.row_splits.numpy())
        return scipy.sparse.csr_matrix(parts, (graph.nodes, columns)).toarray()

    expected = dense(once.adjacency, graph.nodes) @ dense(once.features, TINY.features)
    np.testing.assert_allclose(dense(twice.features, TINY.features), expected, rtol=1e-12)


def test_an_episode_of_nodes_has_no_node_in_both_sets():
    episode = build_episode(TINY)
    assert episode.support.inputs.shape == (2, 10) and episode.query.inputs.shape == (2, 20)
    for support, query in zip(episode.support.inputs.numpy(), episode.query.inputs.numpy(), strict=True):
        assert len({*support, *query}) == 30
    assert build_method(TINY).terms[1].weight == 0.2


@pytest.mark.slow
@pytest.mark.long
def test_rows_without_the_peer():
    figures = {figure.name: figure for figure in beside_the_peer("tiny", TINY, 1, backwards=())}
    assert set(figures) == {"meta-steps a second", "peak memory"}
    assert figures["meta-steps a second"].value > 0 and figures["peak memory"].met
    figures = {figure.name: figure for figure in by_itself("tiny", TINY, 1)}
    assert set(figures) == {"meta-steps a second, alone", "peak memory, alone"}
    assert figures["meta-steps a second, alone"].value > 0 and figures["peak memory, alone"].met
    figures = {figure.name: figure for figure in propagated_once("tiny", TINY, 1)}
    assert set(figures) == {"propagation, once", "meta-step", "peak memory"}
    assert all(figure.value > 0 for figure in figures.values())


def test_every_shipped_graph_has_a_size_to_be_measured_with():
    datasets = {config.dataset.name for config in CONFIGURATIONS.values() if EXAMPLES[config.dataset.name] == "nodes"}
    assert datasets == {"amazon_computer", "citeseer", "cora", "cora_full"}
    assert all(graph_like(name)["features"] > 0 for name in datasets)
    with pytest.raises(ValueError, match="received 'graph'"):
        graph_like("graph")


@pytest.mark.parametrize("variant", ["smoke", pytest.param("smoke,meta_gnn", marks=pytest.mark.slow)])
def test_the_first_step_of_nodes_can_be_measured(variant):
    config = shipped(f"cora:{variant}")
    with config.unlocked():
        config.adaptation.steps = 1
    assert measure(config) > 0


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_the_first_step_of_every_configuration_can_be_measured(name):
    assert measure(CONFIGURATIONS[name]) > 0


def test_a_first_step_that_fails_says_why(tmp_path, monkeypatch):
    program = tmp_path / "python"
    program.write_text("#!/bin/sh\necho Traceback >&2\necho 'ValueError: no such thing' >&2\nexit 3\n")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    with pytest.raises(ContestantError, match="the first step of cora ended with code 3: ValueError: no such thing"):
        first_step("cora")

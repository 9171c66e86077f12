"""What a benchmark builds, counts and compares, and the first step of configurations on nodes."""

from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse
import tensorflow as tf

from benchmarks.graph_operations import graph_operations
from benchmarks.performance.building import build_episode, build_method
from benchmarks.performance.configured import graph_like
from benchmarks.performance.equality import UnequalError, largest_difference
from benchmarks.performance.first_step import groups, measure, names, shipped
from benchmarks.performance.floating_point import convolution_operations, step_operations
from benchmarks.performance.node_building import graph_arrays, node_context, random_graph
from benchmarks.performance.nodes import beside_the_peer, by_itself, propagated_once
from benchmarks.performance.resident import resident
from benchmarks.performance.work import CORA, SINE_WAVES, Work, from_json, to_json
from cml_tf.episodes import Episode
from cml_tf.experiments import presets
from cml_tf.experiments.settings import EXAMPLES

TINY = Work(size=16, channels=3, filters=4, tasks=1, ways=2, shots=1, queries=2, plain=True)
NODES = replace(CORA, nodes=60, edges=120, features=30, density=0.3, tasks=2, steps=2)
CONFIGURATIONS = {name: shipped(f"{name},smoke") for name in names()}


@pytest.mark.slow
def test_operations_are_those_of_the_graph():
    work = replace(TINY, steps=2)
    method, episode = build_method(work), build_episode(work)
    task = Episode(*tf.nest.map_structure(lambda tensor: tensor[0], (episode.support, episode.query)))
    values = [v.value for variables in method.trained_variables().values() for v in variables]

    @tf.function(autograph=False)
    def gradients():
        with tf.GradientTape() as tape:
            losses = method.losses(method.rule.initial(method.learner), method.term_values(), task)
            loss = tf.add_n([term.loss for term in losses])
        return tape.gradient(loss, values)

    # What is called has its dead branches left out: the gradient by the images is traced, but never runs.
    called = tf.function(gradients, autograph=False).get_concrete_function()
    assert step_operations(work) == graph_operations(called).convolutions
    assert step_operations(replace(work, tasks=3)) == 3 * step_operations(work)


def test_operations_are_known_for_convolutions_only_and_a_work_survives_being_sent():
    assert convolution_operations(2, 3, 5, 7) == 2 * 9 * 2 * 3 * 5 * 7
    with pytest.raises(ValueError, match="mlp"):
        step_operations(SINE_WAVES)
    assert from_json(to_json(SINE_WAVES)) == SINE_WAVES
    assert resident("Name:\tx\nVmHWM:\t  4096 kB\nVmRSS:\t  1024 kB\n") == {"now": 1.0, "peak": 4.0}


def test_differences_are_relative_to_a_tensors_own_largest_entry():
    ours = {"loss": np.float32(2.0), "kernel": np.array([1.0, 0.5]), "small": np.array([1e-3])}
    assert largest_difference(ours, {**ours, "small": np.array([1.1e-3])}) == ("small", pytest.approx(0.1))
    nothing = {**ours, "small": np.array([0.0])}
    found = largest_difference(nothing, {**ours, "small": np.array([1e-6])})
    assert found == ("small", pytest.approx(1e-6)), "rounding in place of 0 is no difference"
    for theirs in ({"loss": ours["loss"]}, {**ours, "kernel": np.ones(3)}, {**ours, "kernel": np.full(2, np.nan)}):
        with pytest.raises(UnequalError):
            largest_difference(ours, theirs)


def test_configurations_of_one_graph_are_measured_once():
    made = {
        "glyphs": presets.images("glyphs", "1shot"),
        "omniglot": presets.images("omniglot", "5shot"),
        "maml": presets.images("glyphs", "maml,5shot"),
        **{name: presets.images(name, "5shot") for name in ("mini_imagenet", "cub")},
        "waves": presets.sinusoid("5shot"),
        **{name: presets.nodes(name, "5shot") for name in ("cora", "citeseer")},
        "again": presets.nodes("cora", "5shot"),
        "meta_gnn": presets.nodes("cora", "5shot,meta_gnn"),
    }
    expected = [["omniglot", "glyphs"], ["maml"], ["mini_imagenet", "cub"], ["waves"]]
    expected += [["cora", "again"], ["citeseer"], ["meta_gnn"]]
    assert groups(made.items()) == expected, "the largest episodes first"


def test_a_random_graph_has_the_size_asked_for_and_another_framework_is_given_the_same():
    episode = build_episode(NODES)
    for support, query in zip(episode.support.inputs.numpy(), episode.query.inputs.numpy(), strict=True):
        assert len({*support, *query}) == 30, "no node is in both sets"
    graph = random_graph(CORA)
    assert (graph.nodes, graph.features.shape[1]) == (2708, 1433)
    assert 0.99 * CORA.edges < graph.edges <= CORA.edges
    assert graph.features.nnz == pytest.approx(0.0127 * 2708 * 1433, rel=0.01)
    graph = random_graph(NODES)
    arrays = graph_arrays(graph, np.float64)
    rows, columns = arrays["edges"].T
    assert (rows < columns).all() and len(rows) == graph.edges
    there = scipy.sparse.coo_matrix((np.ones(len(rows)), (rows, columns)), graph.adjacency.shape)
    np.testing.assert_array_equal((there + there.T).toarray(), graph.adjacency.toarray())
    np.testing.assert_array_equal(arrays["features"], graph.features.toarray())
    # Simplified convolutions read features propagated twice.
    once, twice = (node_context(graph, learner, "float64") for learner in ("gcn", "sgc"))

    def dense(matrix, columns):
        parts = (matrix.values.numpy(), matrix.columns.numpy(), matrix.row_splits.numpy())
        return scipy.sparse.csr_matrix(parts, (graph.nodes, columns)).toarray()

    expected = dense(once.adjacency, graph.nodes) @ dense(once.features, NODES.features)
    np.testing.assert_allclose(dense(twice.features, NODES.features), expected, rtol=1e-12)


@pytest.mark.slow
@pytest.mark.long
def test_rows_without_the_peer():
    for row, expected in (
        (lambda: beside_the_peer("tiny", NODES, 1, backwards=()), {"meta-steps a second", "peak memory"}),
        (lambda: by_itself("tiny", NODES, 1), {"meta-steps a second, alone", "peak memory, alone"}),
        (lambda: propagated_once("tiny", NODES, 1), {"propagation, once", "meta-step", "peak memory"}),
    ):
        figures = {figure.name: figure for figure in row()}
        assert set(figures) == expected and all(figure.value > 0 for figure in figures.values())
        assert all(figure.met for name, figure in figures.items() if "memory" in name)


def test_every_shipped_graph_has_a_size_to_be_measured_with():
    datasets = {config.dataset.name for config in CONFIGURATIONS.values() if EXAMPLES[config.dataset.name] == "nodes"}
    assert datasets == {"amazon_computer", "citeseer", "cora", "cora_full"}
    assert all(graph_like(name)["features"] > 0 for name in datasets)
    with pytest.raises(ValueError, match="graph"):
        graph_like("graph")


@pytest.mark.slow
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

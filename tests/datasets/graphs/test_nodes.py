from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from cml_tf.datasets import SPLITS, DatasetError, NodeDataset
from cml_tf.episodes import validate_episode
from cml_tf.graphs import GraphContext, SparseRows, check_graph
from tests.helpers.random_graphs import random_graph

GRAPH = random_graph(nodes=140, features=5, classes=7)
EARLIER_CLASSES = {"train": (2, 5, 6), "validation": (1, 4), "test": (0, 3)}
EARLIER_NODES = [[86, 100, 9, 90, 41, 125]]


def make_dataset(graph=GRAPH, **options):
    return NodeDataset.from_graph("toy", graph, **options)


def make_source(split="train", ways=2, shots=1, queries=3, seed=0, **options):
    return make_dataset(**options).episodes(split, ways=ways, shots=shots, queries=queries, seed=seed)


def address(tensor):
    """Where a tensor's numbers are in memory."""
    return np.frombuffer(memoryview(tensor), np.uint8).__array_interface__["data"][0]


def unlabelled(graph, keep):
    """The same graph with labels on some nodes only."""
    return dataclasses.replace(graph, labels=np.where(keep, graph.labels, -1))


@pytest.mark.parametrize("split", SPLITS)
def test_episodes_are_nodes_of_the_classes_that_the_records_name(split):
    source, dataset = make_source(split, seed=3), make_dataset()
    records, episode = source.indices(5, 40), source.batch(5, 40)
    numbers = np.array(dataset.class_numbers(split))
    for part, count in ((episode.support, 1), (episode.query, 3)):
        assert part.inputs.dtype == tf.int32
        assert part.inputs.shape == [40, 2 * count]
        np.testing.assert_array_equal(GRAPH.labels[part.inputs], np.repeat(numbers[records[:, :, 0]], count, axis=1))
        np.testing.assert_array_equal(part.targets, np.tile(np.repeat([0, 1], count), (40, 1)))
    for nodes in np.concatenate([episode.support.inputs, episode.query.inputs], axis=1):
        assert len(set(nodes.tolist())) == 8


def test_the_stream_is_the_one_that_earlier_runs_used():
    """Published figures name episodes by number: a change here is a break and must be deliberate."""
    assert make_dataset().split_classes == EARLIER_CLASSES
    assert make_source(seed=7).batch(123, 1).query.inputs.numpy().tolist() == EARLIER_NODES


def test_every_labelled_node_is_drawn_and_no_other():
    keep = np.arange(140) % 3 > 0
    graph = unlabelled(GRAPH, keep)
    seen = set()
    for split in SPLITS:
        episode = make_source(split, graph=graph).batch(0, 100)
        seen |= set(np.unique(episode.support.inputs)) | set(np.unique(episode.query.inputs))
    assert seen == set(np.flatnonzero(keep))


def test_the_graph_travels_with_every_batch_and_is_never_copied():
    source = make_source()
    batches = source.batches(0, 4)
    assert batches.element_spec.context.features.values == tf.TensorSpec(source.context.features.values.shape)
    homes = [address(tensor) for tensor in tf.nest.flatten(source.context)]
    for episode in (source.batch(0, 4), *batches.take(6)):
        assert isinstance(episode.context, GraphContext)
        assert isinstance(episode.context.adjacency, SparseRows)
        assert [address(tensor) for tensor in tf.nest.flatten(episode.context)] == homes
        validate_episode(episode, source.problem)


def test_all_splits_and_seeds_share_one_graph():
    dataset = make_dataset()
    sources = [dataset.episodes(split, ways=2, shots=1, queries=1, seed=seed) for split in SPLITS for seed in (0, 1)]
    assert all(source.context is dataset.context for source in sources)


def test_the_division_of_the_classes_depends_on_its_seed_only():
    first = make_dataset(class_seed=1).split_classes
    assert make_dataset(class_seed=1, hops=2).split_classes == first
    assert len({str(make_dataset(class_seed=seed).split_classes) for seed in range(20)}) > 10
    assert make_dataset(class_seed=2**63 - 1).split_classes
    for seed in range(20):
        parts = make_dataset(class_seed=seed, classes=(2, 3, 2)).split_classes
        assert [len(parts[split]) for split in SPLITS] == [2, 3, 2]
        assert sorted(number for part in parts.values() for number in part) == list(range(7))


@pytest.mark.parametrize(("classes", "counts"), [(6, (2, 2, 2)), (7, (3, 2, 2)), (12, (6, 3, 3)), (20, (10, 5, 5))])
def test_by_default_half_the_classes_train(classes, counts):
    parts = make_dataset(random_graph(nodes=100, classes=classes)).split_classes
    assert tuple(len(parts[split]) for split in SPLITS) == counts


def test_fewer_classes_than_there_are_can_be_asked_for():
    parts = make_dataset(classes=[2, 2, 2]).split_classes
    assert len({number for part in parts.values() for number in part}) == 6


def test_classes_without_a_labelled_node_do_not_count():
    graph = unlabelled(GRAPH, GRAPH.labels != 4)
    parts = make_dataset(graph).split_classes
    assert sorted(number for part in parts.values() for number in part) == [0, 1, 2, 3, 5, 6]


def test_the_fingerprint_covers_graph_and_classes_but_not_how_a_learner_looks_at_them():
    same = make_source().fingerprint
    assert make_source(hops=2, normalise_features=False).fingerprint == same
    others = [
        make_source(class_seed=1),
        make_source(graph=unlabelled(GRAPH, np.arange(140) > 0)),
        make_source(split="test"),
        make_source(queries=2),
    ]
    assert len({same, *(other.fingerprint for other in others)}) == 5


def test_hops_can_be_changed_afterwards():
    one = make_dataset(hops=1)
    two = dataclasses.replace(one, hops=2)
    expected = make_dataset(hops=2).context
    tf.nest.map_structure(np.testing.assert_array_equal, two.context, expected)
    assert one.context.features.values.shape != expected.features.values.shape


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"ways": 4}, DatasetError, "at most 3, the classes of train, received 4"),
        ({"ways": None}, DatasetError, "ways must be an integer"),
        ({"shots": 18}, DatasetError, r"shots \+ queries must be at most 20, the examples of class '\d' of train"),
        ({"split": "dev"}, DatasetError, "splits train, validation, test, received 'dev'"),
        ({"classes": (3, 2, 3)}, DatasetError, r"add up to at most 7, .* received 3 \+ 2 \+ 3"),
        ({"classes": (5, 1, 1)}, DatasetError, r"at least 2 each; received \(5, 1, 1\)"),
        ({"classes": (5, 2)}, DatasetError, r"received \(5, 2\)"),
        ({"classes": 7}, DatasetError, "received 7"),
        ({"class_seed": -1}, DatasetError, "class_seed must be an integer of at least 0"),
        ({"hops": -1}, DatasetError, "hops must be an integer of at least 0"),
        ({"hops": 1.5}, DatasetError, "hops must be an integer"),
        ({"graph": random_graph(classes=5)}, DatasetError, "at least 6 classes with labelled nodes, .* found 5"),
    ],
)
def test_impossible_requests_are_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        make_source(**arguments)


def test_a_class_with_too_few_labelled_nodes_is_named():
    labels = np.where((GRAPH.labels == 2) & (np.arange(140) > 20), -1, GRAPH.labels)
    graph = check_graph(GRAPH.adjacency, GRAPH.features, labels, [f"kind {number}" for number in range(7)])
    split = next(split for split in SPLITS if 2 in make_dataset(graph).class_numbers(split))
    with pytest.raises(DatasetError, match=rf"at most 3, the examples of class 'kind 2' of {split}, received 1 \+ 3"):
        make_source(split, graph=graph)

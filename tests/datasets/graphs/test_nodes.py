import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from cml_tf.datasets import SPLITS, DatasetError, NodeDataset
from cml_tf.graphs import GraphContext, SparseRows, check_graph
from tests.helpers.random_graphs import random_graph

GRAPH = random_graph(nodes=140, features=5, classes=7)
EARLIER_CLASSES = {"train": (2, 5, 6), "validation": (1, 4), "test": (0, 3)}
EARLIER_NODES = [[86, 100, 9, 90, 41, 125]]


def make_dataset(graph=GRAPH, **options):
    return NodeDataset.from_graph("toy", graph, **options)


def make_source(split="train", ways=2, shots=1, queries=3, seed=0, **options):
    return make_dataset(**options).episodes(split, ways=ways, shots=shots, queries=queries, seed=seed)


def classes(**options):
    return make_dataset(**options).split_classes


def addresses(context):
    """Where the numbers of tensors are in memory."""
    parts = (np.frombuffer(memoryview(tensor), np.uint8) for tensor in tf.nest.flatten(context))
    return [part.__array_interface__["data"][0] for part in parts]


def unlabelled(keep):
    """The same graph with labels on some nodes only."""
    return dataclasses.replace(GRAPH, labels=np.where(keep, GRAPH.labels, -1))


@pytest.mark.parametrize("split", SPLITS)
def test_episodes_are_nodes_of_the_classes_that_the_records_name(split):
    source, dataset = make_source(split, seed=3), make_dataset()
    records, episode = source.indices(5, 40), source.batch(5, 40)
    numbers = np.array(dataset.class_numbers(split))
    for part, count in ((episode.support, 1), (episode.query, 3)):
        np.testing.assert_array_equal(GRAPH.labels[part.inputs], np.repeat(numbers[records[:, :, 0]], count, axis=1))
        np.testing.assert_array_equal(part.targets, np.tile(np.repeat([0, 1], count), (40, 1)))
    for nodes in np.concatenate([episode.support.inputs, episode.query.inputs], axis=1):
        assert len(set(nodes.tolist())) == 8


def test_the_stream_is_the_one_that_earlier_runs_used_and_reaches_every_labelled_node():
    """Published figures name episodes by number: a change here is a break and must be deliberate."""
    assert classes() == EARLIER_CLASSES
    assert make_source(seed=7).batch(123, 1).query.inputs.numpy().tolist() == EARLIER_NODES
    keep, seen = np.arange(140) % 3 > 0, set()
    for split in SPLITS:
        episode = make_source(split, graph=unlabelled(keep)).batch(0, 100)
        seen |= set(np.unique(episode.support.inputs)) | set(np.unique(episode.query.inputs))
    assert seen == set(np.flatnonzero(keep))


def test_one_graph_travels_with_every_batch_and_is_never_copied():
    dataset = make_dataset()
    sources = [dataset.episodes(split, ways=2, shots=1, queries=1, seed=seed) for split in SPLITS for seed in (0, 1)]
    assert all(source.context is dataset.context for source in sources)
    batches = sources[0].batches(0, 4)
    assert batches.element_spec.context.features.values == tf.TensorSpec(dataset.context.features.values.shape)
    for episode in (sources[0].batch(0, 4), *batches.take(6)):
        assert isinstance(episode.context, GraphContext) and isinstance(episode.context.adjacency, SparseRows)
        assert addresses(episode.context) == addresses(dataset.context)


def test_the_division_of_the_classes_depends_on_its_seed_only():
    assert classes(class_seed=1, hops=2) == classes(class_seed=1)
    assert len({str(classes(class_seed=seed)) for seed in (*range(20), 2**63 - 1)}) > 10
    for seed in range(20):
        parts = classes(class_seed=seed, classes=(2, 3, 2))
        assert [len(parts[split]) for split in SPLITS] == [2, 3, 2]
        assert sorted(number for part in parts.values() for number in part) == list(range(7))
    # By default half of them train; those without a labelled node do not count.
    for options, counts in (
        *(({"graph": random_graph(100, classes=count)}, half) for count, half in ((7, (3, 2, 2)), (20, (10, 5, 5)))),
        ({"classes": [2, 2, 2]}, (2, 2, 2)),
        ({"graph": unlabelled(GRAPH.labels != 4)}, (2, 2, 2)),
    ):
        parts = classes(**options)
        chosen = [number for part in parts.values() for number in part]
        assert tuple(len(parts[split]) for split in SPLITS) == counts and len(set(chosen)) == len(chosen)
    assert 4 not in chosen


def test_the_fingerprint_covers_graph_and_classes_but_not_hops_which_can_be_changed_afterwards():
    same = make_source().fingerprint
    assert make_source(hops=2, normalise_features=False).fingerprint == same
    changes = [{"class_seed": 1}, {"graph": unlabelled(np.arange(140) > 0)}, {"split": "test"}, {"queries": 2}]
    assert len({same, *(make_source(**change).fingerprint for change in changes)}) == 5
    one, two = (make_dataset(hops=hops) for hops in (1, 2))
    tf.nest.map_structure(np.testing.assert_array_equal, dataclasses.replace(one, hops=2).context, two.context)
    assert one.context.features.values.shape != two.context.features.values.shape


FEW = np.where((GRAPH.labels == 2) & (np.arange(140) > 20), -1, GRAPH.labels)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"classes": (3, 2, 3)}, r"at most 7, .* received 3 \+ 2 \+ 3"),
        ({"classes": (5, 1, 1)}, r"received \(5, 1, 1\)"),
        ({"classes": (5, 2)}, r"received \(5, 2\)"),
        ({"classes": 7}, "received 7"),
        ({"class_seed": -1}, "class_seed .*at least 0"),
        ({"hops": -1}, "hops .*at least 0"),
        ({"graph": random_graph(classes=5)}, "6 classes .* found 5"),
        (
            {"graph": check_graph(GRAPH.adjacency, GRAPH.features, FEW, [f"kind {number}" for number in range(7)])},
            r"at most 3, .*'kind 2' in train, received 1 \+ 3",
        ),
    ],
)
def test_impossible_requests_are_refused(arguments, message):
    with pytest.raises(DatasetError, match=message):
        make_source(**arguments)

import numpy as np
import pytest

from cml_tf import datasets
from cml_tf.datasets import DatasetError
from cml_tf.datasets.graphs import graph_npz
from cml_tf.datasets.graphs.graph_npz import read_graph_npz
from cml_tf.datasets.graphs.nodes import GraphSize
from tests.helpers.graph_files import bags_of_words, write_npz_graph, write_planetoid

SIZE = GraphSize(20, 6, 3)
NAMES = np.array(["a", "b", "c"])


@pytest.fixture
def path(tmp_path):
    return tmp_path / "graph.npz"


def test_the_members_become_a_graph(path):
    write_npz_graph(path, SIZE, class_names=NAMES)
    graph = read_graph_npz(path)
    np.testing.assert_array_equal(graph.features.toarray(), bags_of_words(SIZE).toarray())
    np.testing.assert_array_equal(graph.labels, np.arange(20) % 3)
    assert (graph.class_names, graph.edges) == (("a", "b", "c"), 20)
    assert graph.adjacency[0].indices.tolist() == [1, 19]


@pytest.mark.parametrize("names", [None, NAMES.astype(object), NAMES[np.newaxis], np.arange(3)])
def test_names_that_are_no_strings_are_not_read(path, names):
    nodes = np.array([{"any": "object"}] * 20, object)
    write_npz_graph(path, SIZE, class_names=names, node_names=nodes)
    assert read_graph_npz(path).class_names == ("0", "1", "2")


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"labels": None}, "adj_.*, attr_.* and labels as plain arrays.*labels"),
        ({"adj_shape": None}, "adj_shape"),
        ({"attr_data": np.array([object()])}, "Object arrays cannot be loaded"),
        ({"adj_indices": np.full(20, 99)}, "but cannot be read"),
        ({"attr_indices": np.full(len(bags_of_words(SIZE).indices), 99)}, "but cannot be read"),
        ({"adj_indptr": np.array([0, 1])}, "but cannot be read"),
        ({"adj_shape": np.array([np.inf, 20])}, "but cannot be read"),
        ({"adj_shape": np.array([20, 20, 20])}, "but cannot be read"),
        ({"adj_shape": np.array([20, 21])}, r"\[20, 20\].* received \[20, 21\]"),
        ({"labels": np.arange(19)}, r"labels must be integers \[nodes\] = \[20\]"),
        ({"labels": np.arange(20), "class_names": NAMES}, "labels must be below 3"),
    ],
)
def test_malformed_files_are_refused(path, members, message):
    write_npz_graph(path, SIZE, **members)
    with pytest.raises(DatasetError, match=message) as caught:
        read_graph_npz(path)
    assert str(path) in str(caught.value)


def test_damaged_and_missing_files_are_refused(path):
    with pytest.raises(DatasetError, match="graph.npz does not exist"):
        read_graph_npz(path)
    write_npz_graph(path, SIZE)
    whole = path.read_bytes()
    damaged = bytearray(whole)
    damaged[len(whole) // 2] ^= 0xFF
    for content in (b"", b"text", whole[: len(whole) // 2], bytes(damaged)):
        path.write_bytes(content)
        with pytest.raises(DatasetError, match="download it again"):
            read_graph_npz(path)


@pytest.mark.parametrize(
    ("name", "size"),
    [("amazon_computer", (13752, 767, 10)), ("cora_full", (19793, 8710, 70)), ("cora", (2708, 1433, 7))],
)
def test_a_graph_of_another_size_is_refused(tmp_path, name, size):
    for file in (graph_npz.AMAZON_COMPUTER, graph_npz.CORA_FULL):
        write_npz_graph(tmp_path / file, SIZE)
    write_planetoid(tmp_path, "cora", SIZE)
    with pytest.raises(DatasetError, match="{} nodes, {} features and {} classes, found 20, 6 and 3".format(*size)):
        datasets.load(name, str(tmp_path))

"""Graphs in the layouts of Planetoid and of gnn-benchmark: what is read of them, and what is refused."""

import collections
import pickle
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse

from cml_tf import datasets
from cml_tf.datasets import DatasetError
from cml_tf.datasets.graphs import graph_npz, planetoid
from cml_tf.datasets.graphs.graph_npz import read_graph_npz
from cml_tf.datasets.graphs.nodes import GraphSize
from cml_tf.datasets.graphs.planetoid import read_planetoid
from cml_tf.datasets.storage.downloads import file_checksum
from tests.helpers.graph_files import bags_of_words, ring, write_npz_graph, write_planetoid

SHARED = Path(__file__).resolve().parents[4] / "shared" / "data" / "planetoid"
SIZE = GraphSize(50, 9, 4)
NAMES = np.array(list("abcd"))


@pytest.fixture
def npz(tmp_path):
    return tmp_path / "graph.npz"


@pytest.fixture
def folder(tmp_path):
    write_planetoid(tmp_path, "toy", SIZE)
    return tmp_path


def test_nodes_come_in_the_order_of_their_numbers(folder, npz):
    expected = np.zeros((50, 50))
    for left, right in ring(50):
        expected[left, right] = expected[right, left] = 1
    write_npz_graph(npz, SIZE, class_names=NAMES)
    for graph in (read_planetoid(folder, "toy"), read_graph_npz(npz)):
        np.testing.assert_array_equal(graph.features.toarray(), bags_of_words(SIZE).toarray())
        np.testing.assert_array_equal(graph.labels, np.arange(50) % 4)
        np.testing.assert_array_equal(graph.adjacency.toarray(), expected)
    assert graph.class_names == tuple("abcd")


def test_names_that_are_no_strings_are_not_read(npz):
    nodes = np.array([{"any": "object"}] * 50, object)
    for names in (None, NAMES.astype(object), NAMES[np.newaxis], np.arange(4)):
        write_npz_graph(npz, SIZE, class_names=names, node_names=nodes)
        assert read_graph_npz(npz).class_names == tuple("0123")


def test_nodes_that_are_not_listed_or_without_a_class_are_unlabelled(tmp_path):
    write_planetoid(tmp_path, "toy", SIZE, left_out=2)
    one_hot = np.eye(4)[np.arange(40) % 4]
    one_hot[7] = 0
    (tmp_path / "ind.toy.ally").write_bytes(pickle.dumps(one_hot))
    graph = read_planetoid(tmp_path, "toy")
    assert graph.nodes == 50 and graph.features[45:47].nnz == 0
    assert np.flatnonzero(graph.labels < 0).tolist() == [7, 45, 46]
    expected = np.delete(bags_of_words(SIZE).toarray(), [45, 46], axis=0)
    np.testing.assert_array_equal(np.delete(graph.features.toarray(), [45, 46], axis=0), expected)


OUT_OF_RANGE = scipy.sparse.csr_matrix(np.eye(40, 9))
OUT_OF_RANGE.indices[3] = 2**30


@pytest.mark.parametrize(
    ("part", "value", "message"),
    [
        ("allx", OUT_OF_RANGE, "allx .*CSR"),
        ("allx", scipy.sparse.csr_matrix(np.eye(40, 8)), "do not match each other"),
        ("allx", scipy.sparse.csr_matrix(np.full((40, 9), np.nan)), "finite, received 360 values"),
        ("ally", np.ones((40, 4)), "ally .*one-hot"),
        ("graph", {0: ["a"]}, "graph .*dictionary"),
        ("graph", {0: [1, 50]}, r"\[0, 50\), received 1"),
        ("test.index", "a\nb", "one node number per line"),
        ("test.index", "-1", "at least one node number"),
        ("test.index", "\n".join(map(str, [*range(40, 49), 10**12])), "nodes below 100, .* received 1000000000000"),
        ("test.index", "\n".join(map(str, range(39, 49))), "none of the 40 nodes"),
        ("test.index", "\n".join(["41"] * 10), "each test node once"),
        ("tx", None, r"missing: ind\.toy\.tx"),
    ],
)
def test_malformed_contents_of_planetoid_are_refused(folder, part, value, message):
    path = folder / f"ind.toy.{part}"
    path.write_bytes(value.encode() if part == "test.index" else pickle.dumps(value, protocol=4))
    if value is None:
        path.unlink()
    with pytest.raises(DatasetError, match=message):
        read_planetoid(folder, "toy")


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"labels": None}, "plain arrays.*labels"),
        ({"attr_data": np.array([object()])}, "Object arrays"),
        ({"attr_indices": np.full(len(bags_of_words(SIZE).indices), 99)}, "cannot be read"),
        ({"adj_shape": np.array([np.inf, 50])}, "cannot be read"),
        ({"adj_shape": np.array([50, 51])}, r"\[50, 50\].* received \[50, 51\]"),
        ({"labels": np.arange(50), "class_names": NAMES}, "below 4"),
    ],
)
def test_malformed_contents_of_npz_files_are_refused(npz, members, message):
    write_npz_graph(npz, SIZE, **members)
    with pytest.raises(DatasetError, match=message) as caught:
        read_graph_npz(npz)
    assert str(npz) in str(caught.value)


def test_damaged_and_missing_files_are_refused(npz):
    with pytest.raises(DatasetError, match="does not exist"):
        read_graph_npz(npz)
    write_npz_graph(npz, SIZE)
    whole = npz.read_bytes()
    damaged = bytearray(whole)
    damaged[len(whole) // 2] ^= 0xFF
    for content in (b"", b"text", whole[: len(whole) // 2], bytes(damaged)):
        npz.write_bytes(content)
        with pytest.raises(DatasetError, match="download it again"):
            read_graph_npz(npz)


def test_other_sizes_are_refused_and_other_files_of_the_right_size_warned_of(tmp_path, caplog):
    for file in (graph_npz.AMAZON_COMPUTER, graph_npz.CORA_FULL):
        write_npz_graph(tmp_path / file, SIZE)
    write_planetoid(tmp_path, "cora", SIZE)
    sizes = {"amazon_computer": (13752, 767, 10), "cora_full": (19793, 8710, 70), "cora": (2708, 1433, 7)}
    for name, size in sizes.items():
        with pytest.raises(DatasetError, match="{} nodes, {} features and {} classes, found 50, 9 and 4".format(*size)):
            datasets.load(name, str(tmp_path))
    write_planetoid(tmp_path, "cora", planetoid.SIZES["cora"])
    assert datasets.load("cora", str(tmp_path)).graph.edges == 2708
    assert "differ from the published files" in caplog.text


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs the Planetoid files beside the checkout")
@pytest.mark.parametrize(
    ("name", "edges", "counts", "unlabelled"),
    [
        ("cora", 5278, [351, 217, 418, 818, 426, 298, 180], 0),
        ("citeseer", 4552, [249, 590, 668, 701, 596, 508], 15),
    ],
)
def test_the_published_files_are_what_they_are_known_to_be(name, edges, counts, unlabelled, caplog):
    graph = datasets.load(name, str(SHARED)).graph
    assert graph.edges == edges and np.bincount(graph.labels[graph.labels >= 0]).tolist() == counts
    assert int((graph.labels < 0).sum()) == unlabelled and not caplog.text
    for file, expected in planetoid.CHECKSUMS.items():
        assert file_checksum(SHARED / file, "sha256") == expected
    assert isinstance(pickle.loads((SHARED / f"ind.{name}.graph").read_bytes()), collections.defaultdict)

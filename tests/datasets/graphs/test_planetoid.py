import collections
import pickle
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse

from cml_tf import datasets
from cml_tf.datasets import DatasetError
from cml_tf.datasets.graphs import planetoid
from cml_tf.datasets.graphs.nodes import GraphSize
from cml_tf.datasets.graphs.planetoid import read_planetoid
from cml_tf.datasets.storage.downloads import file_checksum
from tests.helpers.graph_files import bags_of_words, ring, write_planetoid

SHARED = Path(__file__).resolve().parents[4] / "shared" / "data" / "planetoid"
SIZE = GraphSize(50, 9, 4)


@pytest.fixture
def folder(tmp_path):
    write_planetoid(tmp_path, "toy", SIZE)
    return tmp_path


def test_nodes_come_in_the_order_of_their_numbers(folder):
    graph = read_planetoid(folder, "toy")
    np.testing.assert_array_equal(graph.features.toarray(), bags_of_words(SIZE).toarray())
    np.testing.assert_array_equal(graph.labels, np.arange(50) % 4)
    expected = np.zeros((50, 50))
    for left, right in ring(50):
        expected[left, right] = expected[right, left] = 1
    np.testing.assert_array_equal(graph.adjacency.toarray(), expected)


def test_nodes_that_are_not_listed_stay_without_features_and_label(tmp_path):
    write_planetoid(tmp_path, "toy", SIZE, left_out=2)
    graph = read_planetoid(tmp_path, "toy")
    assert graph.nodes == 50 and graph.features[45:47].nnz == 0
    assert np.flatnonzero(graph.labels < 0).tolist() == [45, 46]
    expected = np.delete(bags_of_words(SIZE).toarray(), [45, 46], axis=0)
    np.testing.assert_array_equal(np.delete(graph.features.toarray(), [45, 46], axis=0), expected)


def test_rows_without_a_class_are_unlabelled(folder):
    one_hot = np.eye(4)[np.arange(40) % 4]
    one_hot[7] = 0
    (folder / "ind.toy.ally").write_bytes(pickle.dumps(one_hot))
    assert np.flatnonzero(read_planetoid(folder, "toy").labels < 0).tolist() == [7]


OUT_OF_RANGE = scipy.sparse.csr_matrix(np.eye(40, 9))
OUT_OF_RANGE.indices[3] = 2**30


@pytest.mark.parametrize(
    ("part", "value", "message"),
    [
        ("allx", np.eye(40, 9), "allx must contain a CSR matrix"),
        ("allx", OUT_OF_RANGE, "allx must contain a CSR matrix"),
        ("allx", scipy.sparse.csr_matrix(np.eye(40, 8)), "do not match each other"),
        ("allx", scipy.sparse.csr_matrix(np.full((40, 9), np.nan)), "finite, received 360 values"),
        ("tx", scipy.sparse.csr_matrix(np.eye(9)), "do not match each other"),
        ("ally", np.ones((40, 4)), "ally must contain one-hot classes"),
        ("ally", np.arange(40), "ally must contain one-hot classes"),
        ("ally", [[1, 0]], "ally must contain one-hot classes"),
        ("ally", np.eye(39, 4), "do not match each other"),
        ("graph", [[1], [0]], "graph must contain a dictionary"),
        ("graph", {0: ["a"]}, "graph must contain a dictionary"),
        ("graph", {0: [1, 50]}, r"nodes in \[0, 50\), received 1"),
        ("test.index", "", "at least one node number"),
        ("test.index", "a\nb", "one node number per line"),
        ("test.index", "-1", "at least one node number"),
        ("test.index", f"{10**12}", "at least one node number"),
        ("test.index", "\n".join(map(str, range(39, 49))), "must list each test node once, and none of the 40"),
        ("test.index", "\n".join(["41"] * 10), "list each test node once"),
        ("test.index", "41\n42", "do not match each other"),
    ],
)
def test_malformed_contents_are_refused(folder, part, value, message):
    content = value.encode() if part == "test.index" else pickle.dumps(value, protocol=4)
    (folder / f"ind.toy.{part}").write_bytes(content)
    with pytest.raises(DatasetError, match=message):
        read_planetoid(folder, "toy")


def test_missing_files_are_named(folder):
    (folder / "ind.toy.tx").unlink()
    (folder / "ind.toy.graph").unlink()
    with pytest.raises(DatasetError, match=r"missing: ind\.toy\.tx, ind\.toy\.graph"):
        read_planetoid(folder, "toy")


def test_other_files_of_the_right_size_are_taken_with_a_warning(tmp_path, caplog):
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
    dataset = datasets.load(name, str(SHARED))
    assert dataset.graph.edges == edges
    assert np.bincount(dataset.graph.labels[dataset.graph.labels >= 0]).tolist() == counts
    assert int((dataset.graph.labels < 0).sum()) == unlabelled
    assert not caplog.text
    for file, expected in planetoid.CHECKSUMS.items():
        assert file_checksum(SHARED / file, "sha256") == expected
    assert isinstance(pickle.loads((SHARED / f"ind.{name}.graph").read_bytes()), collections.defaultdict)

from __future__ import annotations

import numpy as np
import pytest

from cml_tf.datasets import DatasetError, load_dataset
from cml_tf.datasets.own_graph import read_own_graph

FEATURES = np.array([[1, 0], [0, 2.5], [0, 0], [3, 1]])
EDGES = np.array([[0, 1], [1, 2]])
NAMES = np.array(["red", "", "blue", "red"])


def write_npz(folder, **members):
    arrays = {"features": FEATURES, "edges": EDGES, "labels": np.array([0, 1, -1, 0]), **members}
    np.savez(folder / "graph.npz", **{name: array for name, array in arrays.items() if array is not None})


def write_tables(folder, **files):
    contents = {
        "edges.csv": "0,1\n1, 2\n",
        "features.csv": "1,0\n0,2.5\n0,0\n3,1\n",
        "labels.csv": "red\n\nblue\nred\n",
        **{name.replace("_", "."): text for name, text in files.items()},
    }
    for name, text in contents.items():
        if text is not None:
            (folder / name).write_text(text, encoding="utf-8")


def test_one_file_and_three_tables_say_the_same(tmp_path):
    for name in ("file", "tables", "array"):
        (tmp_path / name).mkdir()
    write_npz(tmp_path / "file", labels=NAMES)
    write_tables(tmp_path / "tables")
    write_tables(tmp_path / "array", features_csv=None)
    np.save(tmp_path / "array" / "features.npy", FEATURES)
    graphs = [read_own_graph(tmp_path / name) for name in ("file", "tables", "array")]
    assert len({graph.fingerprint for graph in graphs}) == 1
    assert graphs[0].class_names == ("blue", "red")
    assert graphs[0].labels.tolist() == [1, -1, 0, 1]
    np.testing.assert_array_equal(graphs[0].features.toarray(), FEATURES.astype(np.float32))
    assert graphs[0].edges == 2


def test_integer_labels_keep_their_names(tmp_path):
    write_npz(tmp_path, class_names=np.array(["a", "b", "c"]))
    graph = read_own_graph(tmp_path)
    assert graph.class_names == ("a", "b", "c")
    assert graph.labels.tolist() == [0, 1, -1, 0]


@pytest.mark.parametrize("labels", ["5\n-1\n\n7\n", "\ufeff5\r\n-3\r\n\r\n 7\r\n"])
def test_tables_of_integers_are_class_numbers(tmp_path, labels):
    write_tables(tmp_path, labels_csv=labels, edges_csv="")
    graph = read_own_graph(tmp_path)
    assert graph.class_names == ("5", "7")
    assert graph.labels.tolist() == [0, -1, -1, 1]
    assert graph.edges == 0


def test_the_registry_hands_the_options_on(tmp_path):
    count = 24
    edges = "\n".join(f"{node},{(node + 1) % count}" for node in range(count))
    features = "\n".join(f"{node},{-node * node}" for node in range(count))
    labels = "\n".join(f"class {node % 8}" for node in range(count))
    write_tables(tmp_path, edges_csv=edges, features_csv=features, labels_csv=labels)
    options = {"classes": (3, 3, 2), "class_seed": 5, "hops": 0, "normalise_features": False}
    dataset = load_dataset("graph", str(tmp_path), **options)
    assert [len(dataset.class_names(split)) for split in dataset.splits] == [3, 3, 2]
    np.testing.assert_array_equal(dataset.context.features.values.numpy()[-2:], [23, -(23**2)])
    source = dataset.episodes("test", ways=2, shots=1, queries=2, seed=0)
    assert set(source.batch(0, 20).support.inputs.numpy().ravel() % 8) == set(dataset.class_numbers("test"))
    with pytest.raises(DatasetError, match="shots . queries must be at most 3, the examples of class 'class"):
        dataset.episodes("test", ways=2, shots=1, queries=3, seed=0)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"labels_csv": None}, r"missing: labels\.csv"),
        ({"features_csv": None}, r"missing: features\.csv or features\.npy"),
        ({"edges_csv": "source,target\n0,1\n"}, r"edges\.csv must hold two node numbers a line.*without a header line"),
        ({"edges_csv": "0.5,1\n"}, r"edges\.csv must hold two node numbers"),
        ({"edges_csv": "0,1,1\n"}, r"edges must be integers \[edges, 2\].*shape \[1, 3\]"),
        ({"edges_csv": "0,9\n"}, r"nodes in \[0, 4\), received 1 that do not, the first \[0, 9\]"),
        ({"features_csv": "a,b\n1,0\n"}, r"features\.csv must hold numbers a line"),
        ({"features_csv": "1,0\n1\n"}, r"features\.csv must hold numbers a line"),
        ({"features_csv": "1,nan\n" * 4}, "finite, received 4 values"),
        ({"features_csv": ""}, r"features must be numbers \[nodes, features\]"),
        ({"labels_csv": "label\nred\n\nblue\nred\n"}, r"\[nodes\] = \[4\].*shape \[5\]"),
        ({"labels_csv": "0,red\n"}, r"labels\.csv must hold one label a line, line 1 has 2 columns"),
        ({"labels_csv": "\n\n\n\n"}, "all 4 are negative"),
        ({"features_npy": "text"}, r"found both; remove one"),
        ({"features_npy": "text", "features_csv": None}, r"features\.npy must be an array of numbers"),
    ],
)
def test_malformed_tables_are_refused(tmp_path, files, message):
    write_tables(tmp_path, **files)
    with pytest.raises(DatasetError, match=message) as caught:
        load_dataset("graph", str(tmp_path))
    assert str(tmp_path) in str(caught.value)


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"labels": None}, "missing: labels, found: features, edges"),
        ({"labels": NAMES.astype(object)}, "plain arrays"),
        ({"labels": NAMES, "class_names": NAMES[:1]}, "the labels are names already, leave it out"),
        ({"class_names": NAMES[:1]}, "below 1, the number of class_names"),
        ({"features": FEATURES.astype(str)}, "features must be numbers"),
    ],
)
def test_malformed_files_are_refused(tmp_path, members, message):
    write_npz(tmp_path, **members)
    with pytest.raises(DatasetError, match=message):
        load_dataset("graph", str(tmp_path))


def test_an_array_under_the_name_of_an_archive_is_refused(tmp_path):
    with (tmp_path / "graph.npz").open("wb") as file:
        np.save(file, FEATURES)
    with pytest.raises(DatasetError, match="must be an npz file of plain arrays"):
        load_dataset("graph", str(tmp_path))


def test_a_root_is_needed(tmp_path):
    with pytest.raises(DatasetError, match="graph needs a root"):
        load_dataset("graph")
    with pytest.raises(DatasetError, match="must be a folder"):
        load_dataset("graph", str(tmp_path / "absent"))

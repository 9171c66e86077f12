import numpy as np
import pytest

from cml_tf import datasets
from cml_tf.datasets import DatasetError
from cml_tf.datasets.graphs.own_graph import read_own_graph

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
            (folder / name).write_text(text, encoding="utf-8", errors="surrogateescape", newline="")


def test_one_file_and_three_tables_say_the_same(tmp_path):
    for name in ("file", "tables", "array"):
        (tmp_path / name).mkdir()
    write_npz(tmp_path / "file", labels=NAMES)
    write_tables(tmp_path / "tables")
    write_tables(tmp_path / "array", features_csv=None)
    np.save(tmp_path / "array" / "features.npy", FEATURES)
    graphs = [read_own_graph(tmp_path / name) for name in ("file", "tables", "array")]
    assert len({graph.fingerprint for graph in graphs}) == 1
    assert (graphs[0].class_names, graphs[0].edges) == (("blue", "red"), 2)
    assert graphs[0].labels.tolist() == [1, -1, 0, 1]
    np.testing.assert_array_equal(graphs[0].features.toarray(), FEATURES.astype(np.float32))


LABELS = {
    "integers, a mark and blanks": ("\ufeff5\r\n-3\r\n\r\n 7\r\n", (5, -1, -1, 7)),
    "of numpy.savetxt": ("# label\n0.00e+00\n-1.00e+00\n1.00e+00\n1.00e+00\n", (0, -1, 1, 1)),
    "of pandas": ("label\n0\n\n1\nNaN\n", (0, -1, 1, -1)),
    "words for nothing": ("0\nNone\n1\nN/A\n", (0, -1, 1, -1)),
    "a header and names": ("Class\nred\n\nblue\nred\n", ("red", "", "blue", "red")),
    "nan among names": ("red\nnan\nblue\nred\n", ("red", "", "blue", "red")),
    "-1 among names": ("red\n-1\nblue\nred\n", ("red", "", "blue", "red")),
    "a mark, quotes and blanks": ('\ufeff"red"\r\n\r\n blue \r\nred\t\r\n', ("red", "", "blue", "red")),
    "quoted separators": ('"a;b"\n"a,b"\n"a\tb"\n"a;b"\n', ("a;b", "a,b", "a\tb", "a;b")),
    "two ways to write an accent": ("caf\u00e9\n\ncafe\u0301\ncafe\n", ("caf\u00e9", "", "caf\u00e9", "cafe")),
}


@pytest.mark.parametrize(("text", "expected"), LABELS.values(), ids=LABELS)
def test_labels_of_all_forms(tmp_path, text, expected):
    write_tables(tmp_path, labels_csv=text)
    graph = read_own_graph(tmp_path)
    found = [graph.class_names[label] if label >= 0 else None for label in graph.labels]
    assert found == [None if label in ("", -1) else str(label) for label in expected]


EDGES_TEXTS = {
    "a header, quoted": '"from node";"to node"\r\n"0";"1"\r\n"1";"2"\r\n',
    "comments and tabs": "# FromNodeId\tToNodeId\n0\t1\n1\t2\n",
    "blanks": "0   1 \n 1 2\n\n",
    "floats": "0.0,1.0\n1e0,2\n",
    "a mark": "\ufeff0,1\n1,2",
}


@pytest.mark.parametrize("text", EDGES_TEXTS.values(), ids=EDGES_TEXTS)
def test_edges_of_all_forms(tmp_path, text):
    write_tables(tmp_path)
    for encoding in ("utf-8", "utf-16"):
        (tmp_path / "edges.csv").write_bytes(text.encode(encoding))
        assert np.argwhere(read_own_graph(tmp_path).adjacency.toarray()).tolist() == [[0, 1], [1, 0], [1, 2], [2, 1]]


ARRAYS = [
    ({"labels": np.array([0.0, np.nan, 1, -1])}, (0, -1, 1, -1), ("0", "1")),
    ({"labels": np.array([b"red", b"", b"blue", b"red"])}, (1, -1, 0, 1), ("blue", "red")),
    ({"labels": np.array(["0.0", "nan", "1.0", "-1.0"])}, (0, -1, 1, -1), ("0", "1")),
    ({"labels": np.array(["e\u0301", "", "\u00e9", "e"])}, (1, -1, 1, 0), ("e", "\u00e9")),
    (
        {"class_names": np.array([b"a", "caf\u00e9".encode(), b"caf\xe9"])},
        (0, 1, -1, 0),
        ("a", "caf\u00e9", "caf\\xe9"),
    ),
]


@pytest.mark.parametrize(("members", "labels", "names"), ARRAYS)
def test_label_arrays_of_all_forms(tmp_path, members, labels, names):
    write_npz(tmp_path, **members, edges=EDGES.astype(float))
    graph = read_own_graph(tmp_path)
    assert (tuple(graph.labels), graph.class_names) == (labels, names)


def test_the_registry_hands_the_options_on(tmp_path):
    nodes = np.arange(24)
    ring = np.stack([nodes, (nodes + 1) % 24], axis=1)
    write_npz(tmp_path, features=np.stack([nodes, -nodes * nodes], axis=1), edges=ring, labels=nodes % 8)
    options = {"classes": (3, 3, 2), "class_seed": 5, "hops": 0, "normalise_features": False}
    dataset = datasets.load("graph", str(tmp_path), **options)
    assert [len(dataset.class_names(split)) for split in dataset.splits] == [3, 3, 2]
    np.testing.assert_array_equal(dataset.context.features.values.numpy()[-2:], [23, -(23**2)])
    source = dataset.episodes("test", ways=2, shots=1, queries=2, seed=0)
    assert set(source.batch(0, 20).support.inputs.numpy().ravel() % 8) == set(dataset.class_numbers("test"))


REFUSED_TABLES = {
    "edges": [
        ("0.5,1\n", r"line 1: .*\[0, 4\).*received 0\.5, 1"),
        ("source,target,weight\n0,1,1\n", "line 2: .* found 3"),
        ("0,1\n\n0,9\n", r"line 3: .* \[0, 4\), .*received 0, 9"),
        ("nan,nan\n0,1\n", "line 1: .* received 'nan'"),
    ],
    "features": [
        (None, r"missing: features\.csv or features\.npy"),
        ("1,0\n1,x\n", "line 2: .* received 'x'"),
        ("1;0,5\n", "line 1: .* received '0,5': .*point"),
        ("1,nan\n" * 4, "line 1: .* finite, received 'nan'"),
        ("node,a\n0,1\n1,0\n", "line 1: .* node numbers"),
    ],
    "labels": [
        (None, r"missing: labels\.csv"),
        ("Farbe\nred\n\nblue\nred\n", "each of the 4 rows .* found 5 up to line 5"),
        ("node,label\n0,red\n", "line 1: .*no other columns"),
        ("0\n0\n1\ninf\n", "line 4: .*received 'inf'"),
        ("0\n0.5\n1\n1\n", r"line 2: .* received '0\.5'"),
        ("red\n\ncaf\udce9\nred\n", "line 3: must be UTF-8"),
        ("0.0\nred\n1.0\n1.0\n", "line 2: must contain a number"),
        ("red\nNA\nred\nblue\n", "line 2: 'NA' may be a name"),
        ('red\n"blue\nred\nblue\n', "line 2: the quotes"),
        ("red\nbl\0ue\nred\nblue\n", "line 2: .* NUL"),
    ],
}


@pytest.mark.parametrize(
    ("name", "text", "message"), [(name, *row) for name, rows in REFUSED_TABLES.items() for row in rows]
)
def test_malformed_tables_are_refused(tmp_path, name, text, message):
    write_tables(tmp_path, **{f"{name}_csv": text})
    with pytest.raises(DatasetError, match=message) as caught:
        datasets.load("graph", str(tmp_path))
    assert str(tmp_path) in str(caught.value) and name in str(caught.value)


def an_array_under_the_name_of_an_archive(folder):
    np.save(folder / "graph", FEATURES)
    (folder / "graph.npy").rename(folder / "graph.npz")


def npz(**members):
    return lambda folder: write_npz(folder, **members)


def tables(**files):
    return lambda folder: write_tables(folder, **files)


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (npz(labels=None), "missing: labels, found: features, edges"),
        (npz(labels=NAMES.astype(object)), "plain arrays"),
        (npz(labels=np.array([0, 1, 0.5, 1])), "labels .* received dtype float64"),
        (npz(class_names=np.array(["a", ""])), r"graph\.npz, class_names: label 1 .*received ''"),
        (npz(labels=NAMES, class_names=NAMES[:1]), "names already"),
        (tables(features_npy="text"), "found both"),
        (tables(features_npy="text", features_csv=None), r"features\.npy must be an array"),
        (an_array_under_the_name_of_an_archive, "plain arrays"),
    ],
)
def test_malformed_files_are_refused(tmp_path, write, message):
    write(tmp_path)
    with pytest.raises(DatasetError, match=message):
        datasets.load("graph", str(tmp_path))

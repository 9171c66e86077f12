import collections
import os
import pickle

import numpy as np
import pytest
import scipy.sparse

from cml_tf.datasets import DatasetError
from cml_tf.datasets.storage.pickles import load_pickle


class Gadget:
    """Unpickled, it is `function(*arguments)`."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def written(path, value, protocol=4):
    path.write_bytes(pickle.dumps(value, protocol=protocol))
    return path


@pytest.mark.parametrize("protocol", [3, 4])
def test_what_the_files_need_is_read(tmp_path, protocol):
    array = np.arange(6, dtype=np.int32).reshape(2, 3)
    np.testing.assert_array_equal(load_pickle(written(tmp_path / "array", array, protocol)), array)
    matrix = load_pickle(written(tmp_path / "matrix", scipy.sparse.csr_matrix(array), protocol))
    np.testing.assert_array_equal(matrix.toarray(), array)
    graph = collections.defaultdict(list, {0: [1, 2]})
    assert load_pickle(written(tmp_path / "graph", graph, protocol)) == {0: [1, 2]}


def test_the_names_of_python_2_are_read(tmp_path):
    path = tmp_path / "graph"
    path.write_bytes(b"\x80\x02ccollections\ndefaultdict\nc__builtin__\nlist\n\x85RK\x00]K\x01as.")
    assert load_pickle(path) == {0: [1]}


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_malicious_file_is_refused_and_nothing_of_it_runs(tmp_path, protocol):
    victim = tmp_path / "made by the pickle"
    path = written(tmp_path / "ind.cora.graph", {0: [1], 1: Gadget(os.mkdir, str(victim))}, protocol)
    with pytest.raises(
        DatasetError, match=r"ind\.cora\.graph is refused: it names 'posix\.mkdir', which .* not called"
    ):
        load_pickle(path)
    assert not victim.exists()
    pickle.loads(path.read_bytes())  # The file does what it threatens to do.
    assert victim.exists()


@pytest.mark.parametrize("function", [eval, getattr, os.system, np.load, np.fromfile, scipy.sparse.load_npz, print])
def test_neither_builtins_nor_other_names_of_numpy_and_scipy_are_admitted(tmp_path, function):
    path = written(tmp_path / "file", Gadget(function, "harmless"))
    with pytest.raises(DatasetError, match="which such files do not need"):
        load_pickle(path)


def test_bytes_for_python_2_are_read_and_no_other_codec_is_run(tmp_path):
    path = written(tmp_path / "file", np.arange(5, dtype=np.uint8), 2)
    assert b"_codecs" in path.read_bytes()
    np.testing.assert_array_equal(load_pickle(path), np.arange(5))
    path.write_bytes(path.read_bytes().replace(b"latin1", b"punycode"[:6]))
    with pytest.raises(DatasetError, match="is damaged"):
        load_pickle(path)


def test_attributes_of_admitted_names_cannot_be_reached(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"\x80\x04\x8c\x05numpy\x8c\x11ndarray.__class__\x93.")
    with pytest.raises(DatasetError, match=r"numpy\.ndarray\.__class__"):
        load_pickle(path)


def test_damaged_files_are_refused(tmp_path):
    whole = pickle.dumps(np.arange(100.0), protocol=4)
    for content in (b"", b"text", whole[:40], whole[:-20], b"\x80\x04\x95" + b"\xff" * 8, b"\x80\x09."):
        path = tmp_path / "file"
        path.write_bytes(content)
        with pytest.raises(DatasetError, match="file is damaged"):
            load_pickle(path)
    with pytest.raises(DatasetError, match="cannot be read"):
        load_pickle(tmp_path / "absent")

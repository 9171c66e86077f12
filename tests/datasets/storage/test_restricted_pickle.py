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


def loaded(folder, content, name="file"):
    (folder / name).write_bytes(content)
    return load_pickle(folder / name)


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_what_the_files_need_is_read(tmp_path, protocol):
    array = np.arange(6, dtype=np.int32).reshape(2, 3)
    np.testing.assert_array_equal(loaded(tmp_path, pickle.dumps(array, protocol)), array)
    matrix = loaded(tmp_path, pickle.dumps(scipy.sparse.csr_matrix(array), protocol))
    np.testing.assert_array_equal(matrix.toarray(), array)
    graph = collections.defaultdict(list, {0: [1, 2]})
    assert loaded(tmp_path, pickle.dumps(graph, protocol)) == {0: [1, 2]}
    # The names of Python 2.
    python_2 = b"\x80\x02ccollections\ndefaultdict\nc__builtin__\nlist\n\x85RK\x00]K\x01as."
    assert loaded(tmp_path, python_2) == {0: [1]}


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_malicious_file_is_refused_and_nothing_of_it_runs(tmp_path, protocol):
    victim = tmp_path / "made by the pickle"
    content = pickle.dumps({0: [1], 1: Gadget(os.mkdir, str(victim))}, protocol)
    with pytest.raises(DatasetError, match=r"ind\.cora\.graph .* 'posix\.mkdir'"):
        loaded(tmp_path, content, "ind.cora.graph")
    assert not victim.exists()
    pickle.loads(content)  # The file does what it threatens to do.
    assert victim.exists()


WHOLE = pickle.dumps(np.arange(100.0), protocol=4)
BYTES_OF_PYTHON_2 = pickle.dumps(np.arange(5, dtype=np.uint8), 2)
HARMLESS = [eval, getattr, os.system, np.load, np.fromfile, scipy.sparse.load_npz, print]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        *((pickle.dumps(Gadget(function, "harmless")), "do not need") for function in HARMLESS),
        (b"\x80\x04\x8c\x05numpy\x8c\x11ndarray.__class__\x93.", r"numpy\.ndarray\.__class__"),
        (BYTES_OF_PYTHON_2.replace(b"latin1", b"punycode"[:6]), "is damaged"),
        *((content, "file is damaged") for content in (b"", b"text", WHOLE[:40], WHOLE[:-20])),
        (b"\x80\x04\x95" + b"\xff" * 8, "file is damaged"),
        (b"\x80\x09.", "file is damaged"),
    ],
)
def test_other_names_codecs_and_damage_are_refused(tmp_path, content, message):
    with pytest.raises(DatasetError, match=message):
        loaded(tmp_path, content)
    with pytest.raises(DatasetError, match="cannot be read"):
        load_pickle(tmp_path / "absent")

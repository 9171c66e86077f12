"""Checkpoints: bit-equal when they are sound, a CheckpointError for every kind of damage, never a pickle."""

from __future__ import annotations

import io
import json
import pickle
import zipfile

import keras
import numpy as np
import pytest

from cml_tf.training.checkpoints import (
    METADATA,
    CheckpointError,
    assign_values,
    named_values,
    read_checkpoint,
    write_checkpoint,
)


def encoded(metadata):
    return np.frombuffer(json.dumps(metadata).encode(), np.uint8)


def groups(seed=0):
    """Variables of two groups, of seeded numbers and every format of floats."""
    random = np.random.default_rng(seed).standard_normal
    made = {
        "learner": [("bfloat16", (2, 3)), ("float32", (3,))],
        "co_learner": [("float64", (3, 1)), ("float16", (2,))],
    }
    return {
        group: [keras.Variable(random(shape), dtype=dtype) for dtype, shape in of_group]
        for group, of_group in made.items()
    }


def test_reads_what_was_written_bit_for_bit(tmp_path):
    variables, fresh = groups(), groups(1)
    values = {**named_values(variables), "odd": np.array([np.nan, -0.0, np.inf, 1e-45], np.float32)}
    values |= {"empty": np.zeros((0, 3)), "number": np.asarray(np.int64(7))}
    metadata = {"step": 3, "nested": {"best": 0.25, "none": None, "list": [1, "ä"]}}
    write_checkpoint(tmp_path / "folder" / "latest.npz", values, metadata)
    read, read_metadata = read_checkpoint(tmp_path / "folder" / "latest.npz")
    assert read_metadata == metadata and set(read) == set(values)
    assign_values(fresh, {name: read[name] for name in named_values(variables)})
    for group, expected in variables.items():
        for received, variable in zip(fresh[group], expected, strict=True):
            np.testing.assert_array_equal(received.numpy(), variable.numpy())
    for name in ("odd", "empty", "number", "learner/0001"):
        value = np.asarray(values[name])
        assert (read[name].dtype, read[name].shape) == (value.dtype, value.shape)
        assert read[name].tobytes() == value.tobytes()


FOREIGN_VALUES = {
    "a value is missing": lambda values: values.pop("co_learner/0000"),
    "a value too many": lambda values: values.update({"co_learner/0002": np.zeros(1)}),
    "a transposed shape": lambda values: values.update({"learner/0000": np.zeros((3, 2))}),
    "text": lambda values: values.update({"co_learner/0001": np.array(["a", "b"])}),
    "another group": lambda values: values.update({"other/0000": values.pop("co_learner/0000")}),
}


@pytest.mark.parametrize("change", FOREIGN_VALUES.values(), ids=FOREIGN_VALUES)
def test_values_of_another_model_are_refused_and_nothing_is_assigned(change):
    values, mine = named_values(groups(0)), groups(1)
    change(values)
    before = named_values(mine)
    with pytest.raises(CheckpointError, match="belongs to another model"):
        assign_values(mine, values)
    for name, value in named_values(mine).items():
        np.testing.assert_array_equal(value, before[name])


class Treacherous:
    """Unpickled, it would write a file in the current directory."""

    def __reduce__(self):
        return (open, ("written", "w"))


def _saved(**arrays):
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def _bomb():
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **{METADATA: encoded({}), "weights": np.zeros(10**6)})
    return buffer.getvalue()


def _endless():
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": "<f8", "fortran_order": False, "shape": (10**15,)})
    return _zip(**{"weights.npy": buffer.getvalue()})


def _npy():
    buffer = io.BytesIO()
    np.save(buffer, np.zeros(3))
    return buffer.getvalue()


def _zip(**members):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def _object(value):
    return np.array([value], object)


FOREIGN_FILES = {
    "empty": lambda: b"",
    "one array": _npy,
    "no metadata": lambda: _saved(weights=np.zeros(3)),
    "metadata of another dtype": lambda: _saved(**{METADATA: np.array([0.5, 2.5])}),
    "metadata that is no JSON": lambda: _saved(**{METADATA: np.frombuffer(b"{step", np.uint8)}),
    "metadata that is no text": lambda: _saved(**{METADATA: np.array([255, 254], np.uint8)}),
    "metadata that is a list": lambda: _saved(**{METADATA: encoded([1])}),
    "a zip file of text": lambda: _zip(**{METADATA: "{}", "other.txt": "text"}),
    "a bomb": _bomb,
    "an array of more than any memory": _endless,
    "a pickle": lambda: pickle.dumps(Treacherous()),
    "a pickle inside": lambda: _saved(**{METADATA: encoded({}), "x": _object(Treacherous())}),
    "a pickle as metadata": lambda: _saved(**{METADATA: _object(Treacherous())}),
}


@pytest.mark.parametrize("content", FOREIGN_FILES.values(), ids=FOREIGN_FILES)
def test_foreign_files_are_refused_and_no_pickle_is_run(tmp_path, monkeypatch, content):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "latest.npz").write_bytes(content())
    with pytest.raises(CheckpointError, match="damaged or not a checkpoint"):
        read_checkpoint(tmp_path / "latest.npz")
    assert not (tmp_path / "written").exists()


def test_missing_files_and_folders_are_refused(tmp_path):
    with pytest.raises(CheckpointError, match=r"the checkpoint .*latest\.npz"):
        read_checkpoint(tmp_path / "latest.npz")
    with pytest.raises(CheckpointError, match="damaged or not a checkpoint"):
        read_checkpoint(tmp_path)


def test_no_damaged_byte_changes_a_value_and_every_truncation_is_detected(tmp_path):
    """Every byte in turn: either somebody notices, or the byte did not matter (a time stamp)."""
    arrays = {"learner/0000": np.random.default_rng(0).standard_normal((5, 7)), "learner/0001": np.ones(3, np.float32)}
    content = _saved(**{METADATA: encoded({"step": 3})}, **arrays)
    path = tmp_path / "latest.npz"
    for length in range(0, len(content), 13):
        path.write_bytes(content[:length])
        with pytest.raises(CheckpointError):
            read_checkpoint(path)
    variables = {"learner": [keras.Variable(np.zeros((5, 7))), keras.Variable(np.zeros(3))]}
    noticed = 0
    for position in range(len(content)):
        path.write_bytes(content[:position] + bytes([content[position] ^ 0x11]) + content[position + 1 :])
        try:
            values, metadata = read_checkpoint(path)
            assign_values(variables, values)
        except CheckpointError:
            noticed += 1
            continue
        assert metadata == {"step": 3}
        for name, value in arrays.items():
            assert values[name].dtype == value.dtype and values[name].tobytes() == value.tobytes()
    assert noticed > 0.8 * len(content)


def test_an_interrupted_writer_leaves_the_old_checkpoint(tmp_path, monkeypatch):
    path, values = tmp_path / "latest.npz", {"learner/0000": np.ones(3)}
    write_checkpoint(path, values, {"step": 1})
    before = path.read_bytes()

    def cut_short(file, **arrays):
        file.write(b"half of a")
        raise OSError("no space left on device")

    monkeypatch.setattr(np, "savez", cut_short)
    with pytest.raises(OSError, match="no space left"):
        write_checkpoint(path, values, {"step": 2})
    assert path.read_bytes() == before and [member.name for member in tmp_path.iterdir()] == ["latest.npz"]

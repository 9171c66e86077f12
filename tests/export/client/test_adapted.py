"""Files of adapted tasks: what is not one is refused by name."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from export.client import Adapted, ClientError
from export.client.answers import among
from export.client.examples import read_queries, read_support

ADAPTED = Adapted("letters", 3, ("ა", "ბ"), np.array([1.0, 2.0], np.float32), 12345)
ARRAYS = {
    "format": 1,
    "model": "letters",
    "version": 3,
    "class_names": np.array(["a", "b"]),
    "classification": True,
    "adapted_state": np.ones(2, np.float32),
    "model_fingerprint": 5,
}


def test_what_was_saved_is_loaded_with_names_in_one_spelling(tmp_path):
    for names, spelt in ((("ა", "ბ"), ("ა", "ბ")), (("cafe\u0301", "dog "), ("caf\u00e9", "dog")), (None, None)):
        dataclasses.replace(ADAPTED, class_names=names).save(tmp_path / "a.npz")
        loaded = Adapted.load(tmp_path / "a.npz")
        assert (loaded.model, loaded.version, loaded.class_names, loaded.fingerprint) == ("letters", 3, spelt, 12345)
        np.testing.assert_array_equal(loaded.state, ADAPTED.state)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"format": 2}, "must have the format 1"),
        ({"adapted_state": np.ones((1, 2), np.float32)}, "must have the format 1"),
        ({"adapted_state": np.array(["a"])}, "must have the format 1"),
        ({"model": 7}, "must have the format 1"),
        ({"adapted_state": np.array([{}], object)}, "must be a file that export.client.adapt wrote"),
        ({"version": None}, "must be a file that export.client.adapt wrote"),
        ({"class_names": np.array([], str)}, "never writes: adapt again"),
        ({"model_fingerprint": 2**40}, "never writes: adapt again"),
        ({"version": -3}, "never writes: adapt again"),
    ],
)
def test_other_contents_are_refused(tmp_path, change, message):
    path = tmp_path / "task.npz"
    np.savez(path, **{name: value for name, value in {**ARRAYS, **change}.items() if value is not None})
    with pytest.raises(ClientError, match=message):
        Adapted.load(path)


def test_other_files_are_refused(tmp_path):
    ADAPTED.save(tmp_path / "task.npz")
    whole = (tmp_path / "task.npz").read_bytes()
    for content in (b"", b"PK", whole[: len(whole) // 2], b"\x80\x04."):
        (tmp_path / "broken.npz").write_bytes(content)
        with pytest.raises(ClientError, match=r"broken\.npz must be a file"):
            Adapted.load(tmp_path / "broken.npz")
    for path in (tmp_path / "missing.npz", tmp_path):
        with pytest.raises(ClientError, match="must be a file"):
            Adapted.load(path)


def test_files_of_another_kind_are_not_offered_for_unpickling(tmp_path):
    np.save(tmp_path / "array.npy", np.arange(3))
    (tmp_path / "text.npz").write_text("hello")
    for read in (Adapted.load, read_support, read_queries):
        for name in ("array.npy", "text.npz"):
            with pytest.raises(ClientError, match=r"is not a complete \.npz file") as caught:
                read(tmp_path / name)
            assert "pickle" not in str(caught.value)


def test_bytes_changed_at_random_are_read_or_refused(tmp_path):
    path, generator = tmp_path / "task.npz", np.random.default_rng(0)
    dataclasses.replace(ADAPTED, state=np.arange(300, dtype=np.float32)).save(path)
    whole, refused = path.read_bytes(), 0
    for _ in range(400):
        content = bytearray(whole)
        for position in generator.integers(0, len(content), 3):
            content[position] = generator.integers(256)
        path.write_bytes(content)
        for read in (Adapted.load, read_support):
            try:
                read(path)
            except ClientError:
                refused += 1
    assert refused > 400


def test_probabilities_of_unused_ways_are_shared_out():
    rows = np.array([[0.2, 0.3, 0.5], [0.0, 0.0, 1.0]], np.float32)
    np.testing.assert_allclose(among(rows, 2), [[0.4, 0.6], [0.5, 0.5]], rtol=1e-6)
    np.testing.assert_allclose(among(rows, 3), rows, rtol=1e-6)


@pytest.mark.parametrize("names", [("a\0", "b"), ("a ", "a"), ("", "a"), ("cafe\u0301", "caf\u00e9")])
def test_names_that_are_none_or_the_same_are_refused_before_they_are_saved(names):
    with pytest.raises(ClientError, match="class names must not be|class names must not contain duplicates"):
        Adapted("letters", 3, names, ADAPTED.state, 1)

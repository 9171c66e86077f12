"""Files of adapted tasks: what is not one is refused by name."""

from __future__ import annotations

import numpy as np
import pytest

from export.client import Adapted, ClientError
from export.client.answers import among

ADAPTED = Adapted("letters", 3, ("ა", "ბ"), np.array([1.0, 2.0], np.float32), 12345)


def test_what_was_saved_is_loaded(tmp_path):
    ADAPTED.save(tmp_path / "a.npz")
    loaded = Adapted.load(tmp_path / "a.npz")
    assert (loaded.model, loaded.version, loaded.class_names, loaded.fingerprint) == ("letters", 3, ("ა", "ბ"), 12345)
    np.testing.assert_array_equal(loaded.state, ADAPTED.state)
    regression = Adapted("waves", 1, None, ADAPTED.state, 1)
    regression.save(tmp_path / "b.npz")
    assert Adapted.load(tmp_path / "b.npz").class_names is None


def _arrays():
    return {
        "format": 1,
        "model": "letters",
        "version": 3,
        "class_names": np.array(["a", "b"]),
        "classification": True,
        "adapted_state": np.ones(2, np.float32),
        "model_fingerprint": 5,
    }


@pytest.mark.parametrize(
    "change, message",
    [
        ({"format": 2}, "not of format 1"),
        ({"adapted_state": np.ones((1, 2), np.float32)}, "not of format 1"),
        ({"adapted_state": np.array(["a"])}, "not of format 1"),
        ({"model": 7}, "not of format 1"),
        ({"adapted_state": np.array([{}], object)}, "must be a file that the client's adapt wrote"),
        ({"version": None}, "must be a file that the client's adapt wrote"),
    ],
)
def test_other_contents_are_refused(tmp_path, change, message):
    path = tmp_path / "task.npz"
    np.savez(path, **{name: value for name, value in {**_arrays(), **change}.items() if value is not None})
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


def test_probabilities_of_unused_ways_are_shared_out():
    rows = np.array([[0.2, 0.3, 0.5], [0.0, 0.0, 1.0]], np.float32)
    np.testing.assert_allclose(among(rows, 2), [[0.4, 0.6], [0.5, 0.5]], rtol=1e-6)
    np.testing.assert_allclose(among(rows, 3), rows, rtol=1e-6)


def test_names_are_brought_to_one_spelling(tmp_path):
    Adapted("letters", 3, ("cafe\u0301", "dog "), ADAPTED.state, 1).save(tmp_path / "a.npz")
    assert Adapted.load(tmp_path / "a.npz").class_names == ("caf\u00e9", "dog")


@pytest.mark.parametrize("names", [("a\0", "b"), ("a ", "a"), ("", "a"), ("cafe\u0301", "caf\u00e9")])
def test_names_that_are_none_or_the_same_are_refused_before_they_are_saved(names):
    with pytest.raises(ClientError, match="names of classes must be text|class names must be distinct"):
        Adapted("letters", 3, names, ADAPTED.state, 1)

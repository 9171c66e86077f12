from __future__ import annotations

import logging

import numpy as np
import pytest

from cml_tf.datasets.storage.cache import ENVIRONMENT_VARIABLE, cache_directory, cached_arrays, scratch_directory


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "cache"


class Builder:
    """Counts how often it is asked."""

    def __init__(self):
        self.calls = 0

    def __call__(self):
        self.calls += 1
        return {"numbers": np.arange(50, dtype=np.uint8).reshape(5, 10), "names": np.array(["α", "b"])}


def load(builder, **key):
    arrays = cached_arrays("toy", key, builder)
    assert sorted(arrays) == ["names", "numbers"]
    np.testing.assert_array_equal(arrays["numbers"], np.arange(50).reshape(5, 10))
    assert arrays["names"].tolist() == ["α", "b"]


def test_the_second_load_reads_the_disk_and_another_key_does_not(folder):
    builder = Builder()
    load(builder, recipe=1)
    load(builder, recipe=1)
    assert builder.calls == 1
    load(builder, recipe=2)
    assert builder.calls == 2
    assert len(list(folder.iterdir())) == 2  # And no temporary files.


def test_damage_anywhere_is_noticed_and_repaired(folder, caplog):
    builder = Builder()
    load(builder)
    (path,) = folder.iterdir()
    good = path.read_bytes()
    # Truncations, and the bits of one byte turned at places all over the file.
    damaged = [good[: len(good) * part // 4] for part in range(4)]
    damaged += [good[:i] + bytes([good[i] ^ 0xFF]) + good[i + 1 :] for i in range(3, len(good), 7)]
    for contents in damaged:
        path.write_bytes(contents)
        load(builder)  # Whatever is read or made anew, the values are right.
    for contents in damaged[:4]:
        calls = builder.calls
        path.write_bytes(contents)
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            load(builder)
        assert builder.calls == calls + 1
        assert "made anew" in caplog.text
        assert path.read_bytes() == good


def test_a_pickle_in_the_cache_is_not_opened(folder):
    builder = Builder()
    load(builder)
    (path,) = folder.iterdir()
    with open(path, "wb") as file:
        np.savez(file, numbers=np.array([{}], object), names=np.array(["x"]))
    load(builder)
    assert builder.calls == 2


def test_a_cache_that_cannot_be_written_costs_only_time(tmp_path, monkeypatch, caplog):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, str(tmp_path / "file"))
    builder = Builder()
    with caplog.at_level(logging.WARNING):
        load(builder)
        load(builder)
    assert builder.calls == 2
    assert "cannot be written" in caplog.text


def test_an_interrupted_write_leaves_nothing_behind(folder, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("os.replace", interrupted)
        with pytest.raises(KeyboardInterrupt):
            load(Builder())
    assert list(folder.iterdir()) == []


def test_directory_is_the_environments_or_the_users(monkeypatch, tmp_path):
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, str(tmp_path))
    assert cache_directory() == tmp_path
    monkeypatch.delenv(ENVIRONMENT_VARIABLE)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_directory() == tmp_path / ".cache" / "cml_tf"
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, "~/kept")
    assert cache_directory() == tmp_path / "kept"


def test_a_scratch_folder_is_empty_and_goes_away(folder):
    left = folder / ".toy.killed"
    left.mkdir(parents=True)
    (left / "file").write_bytes(b"half")
    other = folder / ".toys.kept"
    other.mkdir()
    with pytest.raises(KeyboardInterrupt), scratch_directory("toy") as made:
        assert list(made.iterdir()) == [] and made.parent == folder and not left.exists()
        (made / "file").write_bytes(b"whole")
        raise KeyboardInterrupt
    assert list(folder.iterdir()) == [other]

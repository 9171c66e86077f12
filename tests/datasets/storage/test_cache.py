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

    def load(self, **key):
        arrays = cached_arrays("toy", key, self)
        assert sorted(arrays) == ["names", "numbers"]
        np.testing.assert_array_equal(arrays["numbers"], np.arange(50).reshape(5, 10))
        assert arrays["names"].tolist() == ["α", "b"]
        return self.calls


def test_the_second_load_reads_the_disk_and_another_key_does_not(folder):
    builder = Builder()
    assert [builder.load(recipe=recipe) for recipe in (1, 1, 2)] == [1, 1, 2]
    assert len(list(folder.iterdir())) == 2  # And no temporary files.


def test_damage_anywhere_is_noticed_and_repaired_and_no_pickle_opened(folder, caplog):
    builder = Builder()
    builder.load()
    (path,) = folder.iterdir()
    good = path.read_bytes()
    # The bits of one byte turned at places all over the file: whatever is read or Rebuilding, the values are right.
    for i in range(3, len(good), 17):
        path.write_bytes(good[:i] + bytes([good[i] ^ 0xFF]) + good[i + 1 :])
        builder.load()
    with open(folder / "pickle", "wb") as file:
        np.savez(file, numbers=np.array([{}], object), names=np.array(["x"]))
    for contents in (b"", good[: len(good) // 2], (folder / "pickle").read_bytes()):
        calls = builder.calls
        path.write_bytes(contents)
        caplog.clear()
        assert builder.load() == calls + 1 and "Rebuilding" in caplog.text
        assert path.read_bytes() == good


def test_a_cache_that_cannot_be_written_costs_only_time(folder, caplog):
    folder.write_text("in the way")
    builder = Builder()
    assert [builder.load(), builder.load()] == [1, 2] and "cannot be written" in caplog.text


def test_directory_is_the_environments_or_the_users(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    for value, expected in ((str(tmp_path), tmp_path), ("~/kept", tmp_path / "kept")):
        monkeypatch.setenv(ENVIRONMENT_VARIABLE, value)
        assert cache_directory() == expected
    monkeypatch.delenv(ENVIRONMENT_VARIABLE)
    assert cache_directory() == tmp_path / ".cache" / "cml_tf"


def test_a_scratch_folder_is_empty_and_goes_away(folder):
    left, other = folder / ".toy.killed", folder / ".toys.kept"
    for path in (left, other):
        path.mkdir(parents=True)
    (left / "file").write_bytes(b"half")
    with pytest.raises(KeyboardInterrupt), scratch_directory("toy") as made:
        assert list(made.iterdir()) == [] and made.parent == folder and not left.exists()
        (made / "file").write_bytes(b"whole")
        raise KeyboardInterrupt
    assert list(folder.iterdir()) == [other]

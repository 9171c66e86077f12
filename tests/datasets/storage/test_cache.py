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
    return builder.calls


def test_the_second_load_reads_the_disk_and_another_key_does_not(folder):
    builder = Builder()
    assert [load(builder, recipe=recipe) for recipe in (1, 1, 2)] == [1, 1, 2]
    assert len(list(folder.iterdir())) == 2  # And no temporary files.


def test_damage_anywhere_is_noticed_and_repaired(folder, caplog):
    builder = Builder()
    load(builder)
    (path,) = folder.iterdir()
    good = path.read_bytes()
    # The bits of one byte turned at places all over the file: whatever is read or Rebuilding, the values are right.
    for i in range(3, len(good), 7):
        path.write_bytes(good[:i] + bytes([good[i] ^ 0xFF]) + good[i + 1 :])
        load(builder)
    for contents in [good[: len(good) * part // 4] for part in range(4)]:
        calls = builder.calls
        path.write_bytes(contents)
        caplog.clear()
        assert load(builder) == calls + 1 and "Rebuilding" in caplog.text
        assert path.read_bytes() == good


def test_a_pickle_in_the_cache_is_not_opened(folder):
    builder = Builder()
    load(builder)
    (path,) = folder.iterdir()
    with open(path, "wb") as file:
        np.savez(file, numbers=np.array([{}], object), names=np.array(["x"]))
    assert load(builder) == 2


def test_a_cache_that_cannot_be_written_costs_only_time(tmp_path, monkeypatch, caplog):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, str(tmp_path / "file"))
    builder = Builder()
    assert [load(builder), load(builder)] == [1, 2]
    assert "cannot be written" in caplog.text


def test_directory_is_the_environments_or_the_users(monkeypatch, tmp_path):
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, str(tmp_path))
    assert cache_directory() == tmp_path
    monkeypatch.delenv(ENVIRONMENT_VARIABLE)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_directory() == tmp_path / ".cache" / "cml_tf"
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, "~/kept")
    assert cache_directory() == tmp_path / "kept"


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

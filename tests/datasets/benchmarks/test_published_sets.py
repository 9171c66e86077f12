"""Sets of TensorFlow Datasets: made once, by one process at a time, of the files that were given."""

import errno
from types import SimpleNamespace

import pytest

from cml_tf import datasets
from cml_tf.datasets import DatasetError
from cml_tf.datasets.benchmarks import tfds_sets
from cml_tf.datasets.omniglot import dataset as omniglot
from cml_tf.datasets.storage.cache import cache_directory

tfds = pytest.importorskip("tensorflow_datasets")


@pytest.mark.parametrize("rooted", [True, False])
def test_who_comes_while_another_prepares_takes_what_that_made(
    tmp_path, monkeypatch, empty_cache, twice_at_the_lock, rooted
):
    prepared = []

    class Builder:
        """As much as preparing needs; it knows what was there when it was made."""

        name, data_dir = "toy", tmp_path / "toy" / "1.0.0"

        def __init__(self):
            self.prepared = bool(prepared)

        def is_prepared(self):
            return self.prepared

        def download_and_prepare(self, **_):
            twice_at_the_lock.wait()
            self.prepared = True
            prepared.append(self)

    monkeypatch.setattr(tfds, "builder", lambda name, **_: Builder())
    monkeypatch.setattr(tfds_sets, "check_online", lambda host: None)
    (tmp_path / "file").write_bytes(b"")
    source = tfds_sets.PublishedSet(builder="toy:1.0.0", parts=("train",), files={"file": "http://toy.test/file"})
    made = twice_at_the_lock(tfds_sets, lambda: source.pictures(tmp_path if rooted else None))
    assert len(prepared) == 1
    assert {path.parent for path in twice_at_the_lock.entered} == {tmp_path}, "the folder of the sets"
    assert all(pictures.args[0].is_prepared() for pictures in made), "it knows what the other one made"


def test_files_are_extracted_anew_and_missing_and_damaged_ones_refused(miniature, empty_cache, tmp_path):
    folder = miniature("cifar_fs")
    path = folder / "cifar-100-binary.tar.gz"
    # As an earlier attempt with other files might have left it.
    stale = cache_directory() / "downloads" / "extracted" / f"TAR_GZ.{path.name}" / "cifar-100-binary"
    stale.mkdir(parents=True)
    for part in ("train", "test"):
        (stale / f"{part}.bin").write_bytes(b"\0" * 3074)
    whole = path.read_bytes()
    path.write_bytes(whole[:-100])
    with pytest.raises(DatasetError, match="cannot be built from .* download cifar-100-binary.tar.gz"):
        datasets.load("cifar_fs", str(folder))
    path.unlink()
    with pytest.raises(DatasetError, match="missing: cifar-100-binary.tar.gz.* https://www.cs.tor"):
        datasets.load("cifar_fs", str(folder))
    path.write_bytes(whole)
    first = datasets.load("cifar_fs", str(folder))
    assert sum(len(pool.images) for pool in first.pools.values()) == 300
    assert not list(cache_directory().glob(".extracted-*"))
    with pytest.raises(DatasetError, match="missing: cars_train.tgz, .*"):
        datasets.load("cars", str(tmp_path))


@pytest.mark.parametrize(("name", "remedy"), [("omniglot", "dataset.root"), ("svhn", "all three files, .* is used")])
def test_offline_without_a_root_the_error_says_what_to_do(empty_cache, monkeypatch, name, remedy, tmp_path):
    def offline(name):
        raise ConnectionError("no route\nto host")

    monkeypatch.setattr(tfds, "builder", offline)
    with pytest.raises(DatasetError, match=f"go online, .*{remedy}.*no route to host") as caught:
        datasets.load(name)
    assert "\n" not in str(caught.value)
    # The download, which would retry for minutes, is not even tried.
    unprepared = SimpleNamespace(data_dir=tmp_path / "toy" / "3.1.0", is_prepared=lambda: False)
    monkeypatch.setattr(tfds, "builder", lambda name: unprepared)
    for module in (tfds_sets, omniglot):
        monkeypatch.setattr(module, "check_online", offline)
    with pytest.raises(DatasetError, match="go online.*no route to host"):
        datasets.load(name)


def test_a_full_disk_is_no_fault_of_the_download(empty_cache, monkeypatch):
    def full(name):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tfds, "builder", full)
    with pytest.raises(OSError, match="No space left"):
        datasets.load("svhn")

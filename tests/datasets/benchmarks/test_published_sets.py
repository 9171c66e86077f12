"""Sets of TensorFlow Datasets: made once, by one process at a time, of the files that were given."""

from __future__ import annotations

import ast
import contextlib
import threading

import pytest

from cml_tf import datasets
from cml_tf.datasets import DatasetError
from cml_tf.datasets.benchmarks import tfds_sets as published_sets
from cml_tf.datasets.storage.cache import cache_directory
from tests.helpers.benchmark_files import write_benchmark
from tests.helpers.documents import ROOT

tfds = pytest.importorskip("tensorflow_datasets")


class Disk:
    """What several builders of one set share; their preparation waits until `waiting` is set."""

    def __init__(self):
        self.prepared, self.calls, self.waiting = False, 0, threading.Event()


class Builder:
    """As much of a builder of TensorFlow Datasets as preparing needs; it knows what was there when it was made."""

    name = "toy"

    def __init__(self, disk, data_dir):
        self.disk, self.data_dir, self.prepared = disk, data_dir, disk.prepared

    def is_prepared(self):
        return self.prepared

    def download_and_prepare(self, **_):
        self.disk.calls += 1
        assert self.disk.calls == 1, "two prepared it"
        assert self.disk.waiting.wait(60), "nobody waited: the other one went ahead"
        self.prepared = self.disk.prepared = True


@pytest.mark.parametrize("rooted", [True, False])
def test_who_comes_while_another_prepares_waits_and_takes_what_that_made(tmp_path, monkeypatch, empty_cache, rooted):
    disk, real, entered, yielded, failures = Disk(), published_sets.locked, [], [], []

    @contextlib.contextmanager
    def observed(path, wait=False):
        entered.append(path)
        if len(entered) == 2:
            disk.waiting.set()
        with real(path, wait):
            yield

    monkeypatch.setattr(tfds, "builder", lambda name, **_: Builder(disk, tmp_path / "toy" / "1.0.0"))
    monkeypatch.setattr(published_sets, "locked", observed)
    monkeypatch.setattr(published_sets, "check_online", lambda host: None)
    (tmp_path / "file").write_bytes(b"")
    source = published_sets.PublishedSet(builder="toy:1.0.0", parts=("train",), files={"file": "http://toy.test/file"})

    def prepare():
        try:
            yielded.append(source.pictures(tmp_path if rooted else None))
        except DatasetError as error:
            failures.append(error)

    threads = [threading.Thread(target=prepare) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == [] and len(yielded) == 2 and disk.calls == 1
    assert {path.parent for path in entered} == {tmp_path}, "the folder of the sets, whatever is made in it"
    for pictures in yielded:
        (builder,) = pictures.args
        assert builder.is_prepared(), "it knows what the other one made"


def test_the_files_are_extracted_anew_and_what_was_extracted_goes_away(miniature):
    folder = miniature("cifar_fs")
    # As an earlier attempt with other files might have left it.
    stale = cache_directory() / "downloads" / "extracted" / "TAR_GZ.cifar-100-binary.tar.gz" / "cifar-100-binary"
    stale.mkdir(parents=True)
    for part in ("train", "test"):
        (stale / f"{part}.bin").write_bytes(b"\0" * 3074)
    first = datasets.load("cifar_fs", str(folder))
    assert sum(len(pool.images) for pool in first.pools.values()) == 300
    assert not list(cache_directory().glob(".extracted-*"))


def test_the_remedy_says_what_else_there_is_to_know(tmp_path, empty_cache, monkeypatch):
    with pytest.raises(DatasetError, match="missing: cars_train.tgz, .* not served any more: any copy of the files"):
        datasets.load("cars", str(tmp_path))

    def offline(name):
        raise ConnectionError("no route to host")

    monkeypatch.setattr(tfds, "builder", offline)
    with pytest.raises(DatasetError, match="go online, .* all three files, although .* is used. .*no route"):
        datasets.load("svhn")


@pytest.mark.slow
def test_damaged_files_of_the_cars_are_refused_with_the_note(tmp_path, empty_cache, monkeypatch):
    write_benchmark("cars", tmp_path, monkeypatch)
    (tmp_path / "car_devkit.tgz").write_bytes(b"other")
    with pytest.raises(DatasetError, match="cannot be made from the files in .* any copy of the files"):
        datasets.load("cars", str(tmp_path))


def test_training_does_not_import_tensorflow_datasets_before_it_needs_it():
    """It takes seconds."""
    for path in (ROOT / "cml_tf").rglob("*.py"):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not [name for name in names if name.startswith("tensorflow_datasets")], path

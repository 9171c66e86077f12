"""Images decoded once: the arrays on disk, and episodes from them."""

from __future__ import annotations

import errno
import json
import os
import threading

import numpy as np
import pytest
import tensorflow as tf

from cml_tf.datasets import ClassPool, DatasetError, ImageDataset, class_pool
from cml_tf.datasets.benchmarks.store import Picture, StoredImages, is_undamaged
from cml_tf.datasets.storage.cache import ENVIRONMENT_VARIABLE, cache_directory
from tests.helpers.drawn_images import encoded, pixels

CLASSES = {"train": ("a", "b"), "test": ("c", "d")}
COUNTS = {"a": 4, "b": 5, "c": 3, "d": 6, "left out": 2}


def stored(**changes):
    settings = {"name": "toy", "key": {"made": "here"}, "image_size": (10, 12), "classes": CLASSES, "expected": {}}
    return StoredImages(**{**settings, **changes})


def pictures():
    """In an order of their own, as archives have them."""
    listed = [(name, number) for name, count in COUNTS.items() for number in range(count)]
    for position in np.random.RandomState(0).permutation(len(listed)):
        name, number = listed[position]
        yield Picture(name, f"{number:02d}", lambda n=name, i=number: encoded(pixels(ord(n[0]) * 100 + i)))


@pytest.fixture(autouse=True)
def _cache(empty_cache):
    pass


def test_images_are_sorted_by_class_and_mapped():
    pools = stored().build(pictures)
    assert {split: pool.class_names for split, pool in pools.items()} == CLASSES
    for pool in pools.values():
        assert isinstance(pool.images, np.memmap) and not pool.images.flags.writeable
        wanted = [pixels(ord(name) * 100 + i) for name in pool.class_names for i in range(COUNTS[name])]
        np.testing.assert_array_equal(pool.images, wanted)
        assert pool.counts.tolist() == [COUNTS[name] for name in pool.class_names]
        # What was written down is what a pool in memory finds out.
        in_memory = ClassPool(pool.class_names, pool.counts, np.array(pool.images))
        assert in_memory.fingerprint == pool.fingerprint and is_undamaged(pool)
    again = stored().read()
    assert [pool.fingerprint for pool in again.values()] == [pool.fingerprint for pool in pools.values()]
    assert sorted(path.name for path in stored().folder.iterdir()) == ["index.json", "test.npy", "train.npy"]


def in_the_cache():
    """What is there but for the locks, which are empty files."""
    return [path for path in cache_directory().iterdir() if path.suffix != ".lock"]


@pytest.mark.parametrize(
    "changes", [{"key": {"made": "there"}}, {"image_size": (5, 5)}, {"classes": {"train": ("a",), "test": ("c",)}}]
)
def test_other_keys_sizes_and_classes_are_kept_apart(changes):
    stored().build(pictures)
    assert stored(**changes).read() is None
    assert stored(**changes).build(pictures)["train"].images.shape[1:3] == changes.get("image_size", (10, 12))
    assert len(in_the_cache()) == 2


def source(pool, seed=3):
    pools = {"train": pool, "test": stored().read()["test"]}
    return ImageDataset.from_pools("toy", pools, ("train", "test")).episodes(
        "train", ways=2, shots=1, queries=2, seed=seed
    )


def test_episodes_from_the_file_are_those_from_memory(monkeypatch):
    """A pool above the limit is read where it is; neither pixels nor names of episodes show it."""
    pool = stored().build(pictures)["train"]
    resident = source(ClassPool(pool.class_names, pool.counts, np.array(pool.images)))
    monkeypatch.setattr(class_pool, "RESIDENT_BYTES", 100)
    monkeypatch.setattr(ClassPool, "tensor", property(lambda self: pytest.fail("copied into memory")))
    mapped = source(pool)
    assert mapped.fingerprint == resident.fingerprint
    np.testing.assert_array_equal(mapped.indices(5, 20), resident.indices(5, 20))
    streams = zip(mapped.batches(5, 4).take(5), resident.batches(5, 4).take(5), strict=True)
    for left, right in (*streams, (mapped.batch(0, 9), resident.batch(0, 9))):
        tf.nest.map_structure(np.testing.assert_array_equal, left, right)
    assert mapped.batches(5, 4).element_spec == resident.batches(5, 4).element_spec


def test_a_part_of_a_file_and_a_file_cut_short(monkeypatch):
    monkeypatch.setattr(class_pool, "RESIDENT_BYTES", 0)
    pool = stored().build(pictures)["train"]
    part = ClassPool(("b",), pool.counts[1:], pool.images[4:])
    np.testing.assert_array_equal(part.gatherer()(tf.constant([2, 0], tf.int64)), pool.images[[6, 4]])
    path = stored().folder / "train.npy"
    content = path.read_bytes()
    path.with_name("other").write_bytes(content[:-1])
    path.with_name("other").replace(path)
    with pytest.raises(OSError, match="ended before image 8; it was changed while in use"):
        pool.gatherer()(tf.constant([0, 8], tf.int64))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda folder: (folder / "index.json").write_text("{"), "made anew"),
        (lambda folder: (folder / "index.json").unlink(), "made anew"),
        (lambda folder: (folder / "train.npy").write_bytes((folder / "train.npy").read_bytes()[:-1]), "made anew"),
        (lambda folder: np.save(folder / "train.npy", np.zeros((9, 3, 3, 3), np.uint8)), "made anew"),
        (lambda folder: np.save(folder / "train.npy", np.array([{}], object)), "made anew"),
        (lambda folder: np.save(folder / "train.npy", np.zeros((8, 10, 12, 3), np.uint8)), "made anew"),
    ],
)
def test_what_is_not_whole_is_made_anew(change, message, caplog):
    good = stored().build(pictures)["train"].fingerprint
    change(stored().folder)
    assert stored().read() is None and message in caplog.text
    assert stored().build(pictures)["train"].fingerprint == good


def test_changed_pixels_are_found_by_looking():
    stored().build(pictures)
    path = stored().folder / "test.npy"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    assert not is_undamaged(stored().read()["test"])
    assert is_undamaged(stored().read()["train"])


def test_who_comes_while_another_builds_waits_and_takes_what_that_makes():
    looked, listed, calls, built = threading.Event(), [], [], []

    def second():
        calls.append(1)
        looked.set()
        yield from pictures()

    def first():
        # Listed first, then decoded: by then this is the one that builds.
        if listed:
            waiting.start()
            assert looked.wait(60)
        listed.append(1)
        yield from pictures()

    waiting = threading.Thread(target=lambda: built.append(stored().build(second)))
    pools = stored().build(first)
    waiting.join()
    assert len(calls) == 1, "it listed the pictures, and decoded none"
    assert built[0]["train"].fingerprint == pools["train"].fingerprint and is_undamaged(pools["train"])
    assert in_the_cache() == [stored().folder]


def test_what_a_killed_process_left_is_cleared_away():
    left = cache_directory() / f".{stored().folder.name}.abc"
    left.mkdir(parents=True)
    (left / "train.npy").write_bytes(b"half")
    stored().build(pictures)
    assert in_the_cache() == [stored().folder]


def test_what_may_not_be_read_is_not_made_anew(monkeypatch):
    stored().build(pictures)

    def refused(path, *_, **__):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(np, "load", refused)
    with pytest.raises(DatasetError, match="train.npy may not be read .*Permission denied.*; have its owner allow it"):
        stored().read()


def test_an_interruption_leaves_nothing_behind():
    def interrupted():
        for number, picture in enumerate(pictures()):

            def stop():
                raise KeyboardInterrupt

            yield picture._replace(read=stop) if number == 15 else picture

    with pytest.raises(KeyboardInterrupt):
        stored().build(interrupted)
    assert in_the_cache() == []
    assert stored().read() is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"classes": {"train": ("a", "z")}}, "images of 2 classes, 1 have none, for example z"),
        ({"expected": {"train": 10}}, "toy must have 10 images in split train, found 9"),
        ({"expected": {"": 20}}, "20 images in all splits together, found 18"),
    ],
)
def test_incomplete_files_are_refused(changes, message):
    with pytest.raises(DatasetError, match=message):
        stored(**changes).build(pictures)
    assert not cache_directory().exists() or in_the_cache() == []


def test_bad_pictures_are_refused():
    def one_twice():
        yield from pictures()
        yield Picture("a", "00", lambda: b"")

    with pytest.raises(DatasetError, match="class 'a' has one twice"):
        stored().build(one_twice)

    def one_broken():
        for picture in pictures():
            broken = (picture.class_name, picture.name) == ("d", "03")
            yield picture._replace(read=lambda: b"GIF8?") if broken else picture

    with pytest.raises(DatasetError, match="toy: d/03 cannot be read as a PNG"):
        stored().build(one_broken)

    calls = []

    def fewer_later():
        calls.append(1)
        listed = list(pictures())
        yield from listed if len(calls) == 1 else listed[5:]

    with pytest.raises(DatasetError, match="images were listed and not read; were the files changed"):
        stored().build(fewer_later)
    assert in_the_cache() == []


def test_a_cache_that_cannot_be_written_is_said(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, str(tmp_path / "file"))
    with pytest.raises(DatasetError, match="set CML_TF_CACHE to a folder with room"):
        stored().build(pictures)


def test_a_full_disk_is_said_before_anything_is_decoded(monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def unread():
        for picture in pictures():
            yield picture._replace(read=lambda: pytest.fail("it was read"))

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(DatasetError, match="No space left on device.*to a folder with room"):
        stored().build(unread)
    assert in_the_cache() == []


def test_the_files_have_their_room_and_others_may_read_them():
    stored().build(pictures)
    status = (stored().folder / "train.npy").stat()
    assert status.st_blocks * 512 >= status.st_size
    assert stored().folder.stat().st_mode & 0o777 == 0o755


def test_the_index_says_what_it_was_made_from():
    stored().build(pictures)
    index = json.loads((stored().folder / "index.json").read_text())
    assert index["made_from"] == {"made": "here"} and index["splits"]["train"]["counts"] == [4, 5]

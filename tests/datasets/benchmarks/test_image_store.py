"""Images decoded once: the arrays on disk, and episodes from them."""

import errno
import json
import os

import numpy as np
import pytest
import tensorflow as tf

from cml_tf.datasets import ClassPool, DatasetError, ImageDataset, class_pool
from cml_tf.datasets.benchmarks import store
from cml_tf.datasets.benchmarks.store import Picture, StoredImages, is_undamaged
from cml_tf.datasets.storage.cache import ENVIRONMENT_VARIABLE, cache_directory
from tests.helpers.drawn_images import encoded, pixels

CLASSES = {"train": ("a", "b"), "test": ("c", "d")}
COUNTS = {"a": 4, "b": 5, "c": 3, "d": 6, "left out": 2}
pytestmark = pytest.mark.usefixtures("empty_cache")


def stored(**changes):
    settings = {"name": "toy", "key": {"made": "here"}, "image_size": (10, 12), "classes": CLASSES, "expected": {}}
    return StoredImages(**{**settings, **changes})


def pictures(**reads):
    """In an order of their own, as archives have them; some by name with another function that reads them."""
    listed = [(name, number) for name, count in COUNTS.items() for number in range(count)]
    for position in np.random.RandomState(0).permutation(len(listed)):
        name, number = listed[position]
        plain = lambda n=name, i=number: encoded(pixels(ord(n[0]) * 100 + i))  # noqa: E731
        yield Picture(name, f"{number:02d}", reads.get(f"{name}{number}", reads.get("every", plain)))


def in_the_cache():
    """What is there but for the locks, which are empty files."""
    return [path for path in cache_directory().glob("*") if path.suffix != ".lock"]


@pytest.mark.slow
def test_images_are_sorted_by_class_mapped_and_kept_apart_by_key_size_and_classes():
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
    folder, index = stored().folder, json.loads((stored().folder / "index.json").read_text())
    assert sorted(path.name for path in folder.iterdir()) == ["index.json", "test.npy", "train.npy"]
    assert index["made_from"] == {"made": "here"} and index["splits"]["train"]["counts"] == [4, 5]
    status = (folder / "train.npy").stat()
    assert status.st_blocks * 512 >= status.st_size and folder.stat().st_mode & 0o777 == 0o755
    classes = {"train": ("a",), "test": ("c",)}
    for number, changes in enumerate(({"key": {"made": "there"}}, {"image_size": (5, 5)}, {"classes": classes})):
        assert stored(**changes).read() is None
        assert stored(**changes).build(pictures)["train"].images.shape[1:3] == changes.get("image_size", (10, 12))
        assert len(in_the_cache()) == number + 2


def test_episodes_from_the_file_are_those_from_memory(monkeypatch):
    """A pool above the limit is read where it is; neither pixels nor names of episodes show it."""
    pools = stored().build(pictures)

    def source(pool):
        dataset = ImageDataset.from_pools("toy", {**pools, "train": pool}, ("train", "test"))
        return dataset.episodes("train", ways=2, shots=1, queries=2, seed=3)

    pool = pools["train"]
    resident = source(ClassPool(pool.class_names, pool.counts, np.array(pool.images)))
    monkeypatch.setattr(class_pool, "RESIDENT_BYTES", 100)
    monkeypatch.setattr(ClassPool, "tensor", property(lambda self: pytest.fail("copied into memory")))
    mapped = source(pool)
    assert mapped.fingerprint == resident.fingerprint
    one, other = mapped.batches(5, 4), resident.batches(5, 4)
    assert one.element_spec == other.element_spec
    for left, right in zip(one.take(5), other.take(5), strict=True):
        tf.nest.map_structure(np.testing.assert_array_equal, left, right)
    part = ClassPool(("b",), pool.counts[1:], pool.images[4:])
    np.testing.assert_array_equal(part.gatherer()(tf.constant([2, 0], tf.int64)), pool.images[[6, 4]])
    path = stored().folder / "train.npy"
    path.with_name("other").write_bytes(path.read_bytes()[:-1])
    path.with_name("other").replace(path)
    with pytest.raises(OSError, match="ended before image 8"):
        pool.gatherer()(tf.constant([0, 8], tf.int64))


DAMAGE = (
    lambda folder: (folder / "index.json").write_text("{"),
    lambda folder: (folder / "train.npy").write_bytes((folder / "train.npy").read_bytes()[:-1]),
    lambda folder: (folder / "train.npy").write_bytes(b""),
    lambda folder: np.save(folder / "train.npy", np.zeros((9, 3, 3, 3), np.uint8)),
    lambda folder: np.save(folder / "train.npy", np.array([{}], object)),
)


@pytest.mark.slow
def test_what_is_not_whole_is_made_anew(caplog):
    good = stored().build(pictures)["train"].fingerprint
    for damage in DAMAGE:
        caplog.clear()
        damage(stored().folder)
        assert stored().read() is None and "Rebuilding" in caplog.text
        assert stored().build(pictures)["train"].fingerprint == good


def test_who_comes_while_another_builds_waits_and_takes_what_that_makes(twice_at_the_lock):
    decoded = []

    def first():
        twice_at_the_lock.wait()
        decoded.append(1)
        return encoded(pixels(ord("a") * 100))

    one, other = twice_at_the_lock(store, lambda: stored().build(lambda: pictures(a0=first)))
    assert decoded == [1] and one["train"].fingerprint == other["train"].fingerprint and is_undamaged(one["train"])
    assert in_the_cache() == [stored().folder]


def interrupt():
    raise KeyboardInterrupt


def fewer_later(calls=iter((0, 5))):  # noqa: B008
    return list(pictures())[next(calls) :]


@pytest.mark.parametrize(
    ("changes", "listed", "error", "message"),
    [
        ({"classes": {"train": ("a", "z")}}, pictures, DatasetError, "2 classes, but 1 .* z"),
        ({"expected": {"train": 10}}, pictures, DatasetError, "10 images in split train, found 9"),
        ({"expected": {"": 20}}, pictures, DatasetError, "20 images in all .*found 18"),
        ({}, lambda: [*pictures(), *pictures()], DatasetError, "class '.' .*twice"),
        ({}, lambda: pictures(d3=lambda: b"GIF8?"), DatasetError, "toy: d/03 cannot be read"),
        ({}, fewer_later, DatasetError, "listed but not read"),
        ({}, lambda: pictures(b2=interrupt), KeyboardInterrupt, None),
    ],
)
def test_what_fails_leaves_nothing_behind(changes, listed, error, message):
    with pytest.raises(error, match=message):
        stored(**changes).build(listed)
    assert in_the_cache() == [] and stored().read() is None


def failing(number):
    def call(*arguments, **_):
        raise OSError(number, os.strerror(number), str(arguments[0]))

    return call


def test_what_may_not_be_read_or_written_is_said_and_decodes_nothing(tmp_path, monkeypatch):
    unread = lambda: pictures(every=lambda: pytest.fail("it was read"))  # noqa: E731
    with (
        monkeypatch.context() as patch,
        pytest.raises(DatasetError, match="No space left .*with free space"),
    ):
        patch.setattr(os, "posix_fallocate", failing(errno.ENOSPC))
        stored().build(unread)
    assert in_the_cache() == []
    stored().build(pictures)
    with monkeypatch.context() as patch, pytest.raises(DatasetError, match="train.npy .*Permission denied"):
        patch.setattr(np, "load", failing(errno.EACCES))
        stored().read()
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, str(tmp_path / "file"))
    with pytest.raises(DatasetError, match="CML_TF_CACHE"):
        stored().build(unread)

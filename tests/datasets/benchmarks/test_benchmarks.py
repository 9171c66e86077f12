"""The image benchmarks, on miniatures of their published files: same layout, fewer and smaller pictures."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from cml_tf import datasets
from cml_tf.datasets import DatasetError
from cml_tf.datasets.benchmarks.class_splits import class_splits
from cml_tf.datasets.image_files import decode_and_resize, resize
from tests.helpers import benchmark_files
from tests.helpers.benchmark_files import IMAGES, classes_of, expect_counts, picture


def image(dataset, class_name: str, number: int) -> np.ndarray:
    for pool in dataset.pools.values():
        if class_name in pool.class_names:
            return pool.images[IMAGES * pool.class_names.index(class_name) + number]
    raise AssertionError(class_name)


def expected(content: np.ndarray | bytes, size: tuple[int, int]) -> np.ndarray:
    if isinstance(content, bytes):
        return decode_and_resize(tf.constant(content), size, 3).numpy()
    return resize(tf.constant(content), size).numpy()


def slow(*names: str) -> list:
    return [pytest.param(name, marks=pytest.mark.slow) for name in names]


@pytest.mark.parametrize("name", ["aircraft", "gtsrb", "mini_imagenet", *slow("cub", "tiered_imagenet")])
def test_published_archives(name, miniature):
    dataset = datasets.load(name, str(miniature(name)))
    assert dataset.name == name and dataset.input_shape == (*((32, 32) if name == "gtsrb" else (84, 84)), 3)
    assert {split: len(dataset.class_names(split)) for split in dataset.splits} == {
        split: len(names) for split, names in class_splits(name).classes.items()
    }
    assert all((pool.counts == IMAGES).all() for pool in dataset.pools.values())
    check = {
        "mini_imagenet": ("n01532829", lambda c: picture(0, 1, (84, 84))),
        "aircraft": ("A340-300", lambda c: benchmark_files.opened(benchmark_files.jpeg(c, 1))[1:8, 2:9]),
        "gtsrb": ("14.Stop", lambda c: picture(14, 1)),
        "cub": ("004.Groove_billed_Ani", lambda c: benchmark_files.jpeg(c, 1)),
        "tiered_imagenet": ("n01530575", lambda c: benchmark_files.jpeg(c, 1)),
    }
    class_name, content = check[name]
    got = image(dataset, class_name, 1)
    wanted = expected(content(classes_of(name).index(class_name)), dataset.input_shape[:2])
    np.testing.assert_array_equal(got, wanted)


def test_cifar_comes_through_the_builder_of_tensorflow_datasets(miniature):
    root = str(miniature("cifar_fs"))
    fs = datasets.load("cifar_fs", root)
    number = classes_of("cifar_fs").index("whale")
    assert "whale" in fs.class_names("test")
    # In the order of the builder, which is one of its own.
    got = {image(fs, "whale", i).tobytes() for i in range(IMAGES)}
    assert got == {picture(number, i, (32, 32)).tobytes() for i in range(IMAGES)}
    miniature("fc100")
    fc = datasets.load("fc100", root)
    assert {image(fc, "whale", i).tobytes() for i in range(IMAGES)} == got
    # TensorFlow Datasets checks what is in the folder by the checksums that it knows.
    assert fc.episodes("train", ways=5, shots=1, queries=2, seed=0).batch(0, 1).query.inputs.shape == (1, 10, 32, 32, 3)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["vgg_flower", "cars", "svhn"])
def test_other_sets_of_tensorflow_datasets(name, miniature):
    dataset = datasets.load(name, str(miniature(name)))
    assert all((pool.counts == IMAGES).all() for pool in dataset.pools.values())
    class_name, source = {
        "vgg_flower": ("005.english marigold", lambda i: benchmark_files.jpeg(4, i)),
        "cars": ("Acura TL Sedan 2012", lambda i: benchmark_files.opened(benchmark_files.jpeg(2, i))[2:8, 3:9]),
        "svhn": ("0", lambda i: picture(0, i, (32, 32))),
    }[name]
    got = {image(dataset, class_name, i).tobytes() for i in range(IMAGES)}
    assert got == {expected(source(i), dataset.input_shape[:2]).tobytes() for i in range(IMAGES)}


def test_prepared_images_need_neither_files_nor_decoding(miniature, monkeypatch, offline):
    folder = miniature("gtsrb")
    first = datasets.load("gtsrb", str(folder))
    shutil.rmtree(folder)

    def decode(*_, **__):
        raise AssertionError("decoded again")

    monkeypatch.setattr("cml_tf.datasets.benchmarks.store.decode_contents", decode)
    again = datasets.load("gtsrb")
    assert again.pools["test"].fingerprint == first.pools["test"].fingerprint
    assert isinstance(again.pools["test"].images, np.memmap)
    folder.mkdir()
    for root in (folder, folder / "gone"):
        assert datasets.load("gtsrb", str(root)).pools["test"].fingerprint == first.pools["test"].fingerprint
    missing = "needs GTSRB_Final_Training_Images.zip .* not prepared at 16x{}: .* --root=FOLDER --image_size=16{} once"
    for width, more in ((16, ""), (20, " --image_size=20")):
        with pytest.raises(DatasetError, match=missing.format(width, more)):
            datasets.load("gtsrb", image_size=(16, width))


def unpack(name: str, folder: Path) -> None:
    files = {"mini_imagenet": benchmark_files.mini_imagenet, "gtsrb": benchmark_files.gtsrb}[name]()
    for place, content in files.items():
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        (folder / place).write_bytes(content)


@pytest.mark.parametrize("name", ["gtsrb", *slow("mini_imagenet")])
def test_unpacked_files_are_the_same_and_changes_are_noticed(name, miniature, tmp_path):
    packed = datasets.load(name, str(miniature(name)))
    folder = tmp_path / "unpacked"
    folder.mkdir()
    unpack(name, folder)
    unpacked = datasets.load(name, str(folder))
    for split in packed.splits:
        assert unpacked.pools[split].fingerprint == packed.pools[split].fingerprint
    next(path for path in sorted(folder.rglob("*")) if path.suffix in (".pkl", ".ppm")).unlink()
    with pytest.raises(DatasetError, match="must have"):
        datasets.load(name, str(folder))


def test_mini_imagenet_from_image_files(miniature, tmp_path, monkeypatch):
    """In folders of classes, or with the class before the number in the file's name, as two common copies have them."""
    expect_counts("mini_imagenet", {"test": 20}, monkeypatch)
    for c, name in enumerate(classes_of("mini_imagenet")):
        place = f"images/{name}{c:08d}.jpg" if c % 2 else f"{name}/{c}.JPEG"
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / place).write_bytes(benchmark_files.jpeg(c, 0))
    dataset = datasets.load("mini_imagenet", str(tmp_path))
    assert [len(pool.images) for pool in dataset.pools.values()] == [64, 16, 20]

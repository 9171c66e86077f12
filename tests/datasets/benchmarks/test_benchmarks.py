"""The image benchmarks, on miniatures of their published files: same layout, fewer and smaller pictures."""

import shutil

import numpy as np
import pytest
import tensorflow as tf

from cml_tf import datasets
from cml_tf.datasets import DatasetError
from cml_tf.datasets.benchmarks.class_splits import class_splits
from cml_tf.datasets.image_files import decode_and_resize, resize
from tests.helpers import benchmark_files
from tests.helpers.benchmark_files import IMAGES, classes_of, expect_counts, jpeg, opened, picture
from tests.helpers.drawn_images import write_tree


def images(dataset, class_name: str) -> list[np.ndarray]:
    for pool in dataset.pools.values():
        if class_name in pool.class_names:
            first = IMAGES * pool.class_names.index(class_name)
            return list(pool.images[first : first + IMAGES])
    raise AssertionError(class_name)


def slow(*names: str) -> list:
    return [pytest.param(name, marks=pytest.mark.slow) for name in names]


# A class of each, and how its pictures look before they are made smaller, by its number and theirs.
SAMPLES = {
    "mini_imagenet": ("n01532829", lambda c, i: picture(0, i, (84, 84))),
    "aircraft": ("A340-300", lambda c, i: opened(jpeg(c, i))[1:8, 2:9]),
    "gtsrb": ("14.Stop", picture),
    "cub": ("004.Groove_billed_Ani", jpeg),
    "tiered_imagenet": ("n01530575", jpeg),
    "cifar_fs": ("whale", lambda c, i: picture(c, i, (32, 32))),
    "fc100": ("whale", lambda c, i: picture(c, i, (32, 32))),
    "vgg_flower": ("005.english marigold", jpeg),
    "cars": ("Acura TL Sedan 2012", lambda _, i: opened(jpeg(2, i))[2:8, 3:9]),
    "svhn": ("0", lambda c, i: picture(c, i, (32, 32))),
}
# In an order of their builder's own.
BUILT = ("cifar_fs", "fc100", "vgg_flower", "cars", "svhn")
SLOW = ("cub", "tiered_imagenet", "vgg_flower", "cars", "svhn")


@pytest.mark.parametrize("name", [*(name for name in SAMPLES if name not in SLOW), *slow(*SLOW)])
def test_published_files(name, miniature):
    dataset = datasets.load(name, str(miniature(name)))
    assert dataset.name == name
    assert {split: dataset.class_names(split) for split in dataset.splits} == class_splits(name).classes
    assert all((pool.counts == IMAGES).all() for pool in dataset.pools.values())
    class_name, content = SAMPLES[name]
    got, wanted = images(dataset, class_name), []
    for number in range(IMAGES):
        given = tf.constant(content(classes_of(name).index(class_name), number))
        size = dataset.input_shape[:2]
        wanted.append((decode_and_resize(given, size, 3) if given.dtype == tf.string else resize(given, size)).numpy())
    if name in BUILT:
        got, wanted = (sorted(array.tobytes() for array in arrays) for arrays in (got, wanted))
    np.testing.assert_array_equal(got, wanted)


def test_prepared_images_need_neither_files_nor_decoding(miniature, no_decoding, offline):
    folder = miniature("gtsrb")
    first = datasets.load("gtsrb", str(folder))
    shutil.rmtree(folder)
    with no_decoding("benchmarks.store"):
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


@pytest.mark.parametrize("name", ["gtsrb", *slow("mini_imagenet")])
def test_unpacked_files_are_the_same_and_changes_are_noticed(name, miniature, tmp_path):
    packed = datasets.load(name, str(miniature(name)))
    folder = tmp_path / "unpacked"
    write_tree(folder, getattr(benchmark_files, name)())
    unpacked = datasets.load(name, str(folder))
    for split in packed.splits:
        assert unpacked.pools[split].fingerprint == packed.pools[split].fingerprint
    next(path for path in sorted(folder.rglob("*")) if path.suffix in (".pkl", ".ppm")).unlink()
    with pytest.raises(DatasetError, match="must have"):
        datasets.load(name, str(folder))


def test_mini_imagenet_from_image_files(tmp_path, monkeypatch, empty_cache):
    """In folders of classes, or with the class before the number in the file's name, as two common copies have them."""
    expect_counts("mini_imagenet", {"test": 20}, monkeypatch)
    names = enumerate(classes_of("mini_imagenet"))
    places = {f"images/{name}{c:08d}.jpg" if c % 2 else f"{name}/{c}.JPEG": jpeg(c, 0) for c, name in names}
    write_tree(tmp_path, places)
    dataset = datasets.load("mini_imagenet", str(tmp_path))
    assert [len(pool.images) for pool in dataset.pools.values()] == [64, 16, 20]

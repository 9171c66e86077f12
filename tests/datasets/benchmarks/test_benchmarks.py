"""The image benchmarks, on miniatures of their published files: same layout, fewer and smaller pictures."""

import shutil

import numpy as np
import pytest
import tensorflow as tf

from cml_tf import datasets
from cml_tf.datasets import SPLITS, DatasetError
from cml_tf.datasets.benchmarks.catalogue import BENCHMARKS, Archive
from cml_tf.datasets.benchmarks.class_splits import class_splits
from cml_tf.datasets.image_files import decode_and_resize, resize
from tests.helpers import benchmark_files
from tests.helpers.benchmark_files import IMAGES, classes_of, expect_counts, jpeg, opened, picture
from tests.helpers.documents import ROOT
from tests.helpers.drawn_images import write_tree

# The number of classes of each split and of all images, and the size, as the papers state them.
PUBLISHED = {
    "mini_imagenet": ((64, 16, 20), 60000, 84),
    "tiered_imagenet": ((351, 97, 160), 779165, 84),
    "cifar_fs": ((64, 16, 20), 60000, 32),
    "fc100": ((60, 20, 20), 60000, 32),
    "vgg_flower": ((71, 15, 16), 8189, 32),
    "cub": ((100, 50, 50), 11788, 84),
    "cars": ((98, 49, 49), 8144, 84),
    "aircraft": ((70, 15, 15), 10000, 84),
    "gtsrb": ((0, 0, 43), 39209, 32),
    "svhn": ((0, 0, 10), 26032, 32),
}
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


def images(dataset, class_name: str) -> list[np.ndarray]:
    (pool,) = (pool for pool in dataset.pools.values() if class_name in pool.class_names)
    first = IMAGES * pool.class_names.index(class_name)
    return list(pool.images[first : first + IMAGES])


def fingerprints(dataset):
    return {split: pool.fingerprint for split, pool in dataset.pools.items()}


@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.slow] * (n in SLOW)) for n in SAMPLES])
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
        assert isinstance(again.pools["test"].images, np.memmap)
        folder.mkdir()
        others = [datasets.load("gtsrb", str(root)) for root in (folder, folder / "gone")]
        assert all(fingerprints(other) == fingerprints(first) for other in (again, *others))
    for width, more in ((16, ""), (20, " --image_size=20")):
        with pytest.raises(DatasetError, match=f"16x{width} .* --root=FOLDER --image_size=16{more}"):
            datasets.load("gtsrb", image_size=(16, width))


@pytest.mark.parametrize("name", ["gtsrb", pytest.param("mini_imagenet", marks=pytest.mark.slow)])
def test_unpacked_files_are_the_same_and_changes_are_noticed(name, miniature, tmp_path):
    packed, folder = datasets.load(name, str(miniature(name))), tmp_path / "unpacked"
    write_tree(folder, getattr(benchmark_files, name)())
    assert fingerprints(datasets.load(name, str(folder))) == fingerprints(packed)
    next(path for path in sorted(folder.rglob("*")) if path.suffix in (".pkl", ".ppm")).unlink()
    with pytest.raises(DatasetError, match="must have"):
        datasets.load(name, str(folder))


def test_mini_imagenet_from_image_files(tmp_path, monkeypatch, empty_cache):
    """In folders of classes, or with the class before the number in the file's name, as two common copies have them."""
    expect_counts("mini_imagenet", {"test": 20}, monkeypatch)
    names = enumerate(classes_of("mini_imagenet"))
    write_tree(tmp_path, {f"images/{n}{c:08d}.jpg" if c % 2 else f"{n}/{c}.JPEG": jpeg(c, 0) for c, n in names})
    dataset = datasets.load("mini_imagenet", str(tmp_path), image_size=(4, 4))
    assert [len(pool.images) for pool in dataset.pools.values()] == [64, 16, 20]


@pytest.mark.parametrize("name", BENCHMARKS)
def test_split_files_hold_the_published_numbers_and_their_source(name):
    split, benchmark = class_splits(name), BENCHMARKS[name]
    classes, count, size = PUBLISHED[name]
    assert tuple(len(split.classes.get(part, ())) for part in SPLITS) == classes
    assert len(set(classes_of(name))) == sum(classes)
    assert split.published and len(split.source) > 40 and sum(split.images.values()) == count
    assert list(split.classes.values()) == [tuple(sorted(names)) for names in split.classes.values()]
    assert benchmark.image_size == (size, size)
    if isinstance(benchmark.source, Archive):
        kind, checksum = benchmark.source.checksum
        assert len(checksum) == {"md5": 32, "sha256": 64}[kind]


def test_fc100_keeps_superclasses_together_and_birds_follow_their_rule():
    assert {"boy", "girl", "man", "woman", "baby"} <= set(class_splits("fc100").classes["test"])
    birds = classes_of("cub")
    for part, chosen in (("train", range(0, 200, 2)), ("validation", range(1, 200, 4)), ("test", range(3, 200, 4))):
        assert class_splits("cub").classes[part] == tuple(birds[number] for number in chosen)


def test_the_document_says_what_the_split_files_say():
    lines = (ROOT / "docs/DATASETS.md").read_text(encoding="utf-8").splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines if line.startswith("| `")]
    assert [name.strip("`") for name, *_ in rows] == list(BENCHMARKS)
    for name, classes, count, size, *_ in rows:
        split = class_splits(name.strip("`"))
        assert classes.removeprefix("test only: ") == " / ".join(str(len(names)) for names in split.classes.values())
        assert count.removesuffix(" in all") == " / ".join(f"{images:,}" for images in split.images.values())
        assert size == "{}x{}".format(*BENCHMARKS[name.strip("`")].image_size)

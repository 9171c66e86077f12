"""Which classes of the benchmarks train, validate and test, and at which size: as the literature has them."""

from __future__ import annotations

from pathlib import Path

import pytest

from cml_tf.datasets import SPLITS
from cml_tf.datasets.benchmarks.catalogue import BENCHMARKS, Archive
from cml_tf.datasets.benchmarks.class_splits import class_splits
from tests.helpers.benchmark_files import classes_of

SMALL_ONES = ("cifar_fs", "fc100", "vgg_flower", "gtsrb", "svhn")
# The number of classes of each split as the papers state them.
CLASSES = {
    "mini_imagenet": (64, 16, 20),
    "tiered_imagenet": (351, 97, 160),
    "cifar_fs": (64, 16, 20),
    "fc100": (60, 20, 20),
    "vgg_flower": (71, 15, 16),
    "cub": (100, 50, 50),
    "cars": (98, 49, 49),
    "aircraft": (70, 15, 15),
    "gtsrb": (0, 0, 43),
    "svhn": (0, 0, 10),
}
TOTALS = {
    "mini_imagenet": 60000,
    "tiered_imagenet": 779165,
    "cifar_fs": 60000,
    "fc100": 60000,
    "vgg_flower": 8189,
    "cub": 11788,
    "cars": 8144,
    "aircraft": 10000,
    "gtsrb": 39209,
    "svhn": 26032,
}


@pytest.mark.parametrize("name", BENCHMARKS)
def test_split_files_hold_the_published_numbers_and_their_source(name):
    split = class_splits(name)
    assert tuple(len(split.classes.get(part, ())) for part in SPLITS) == CLASSES[name]
    assert len(set(classes_of(name))) == sum(CLASSES[name])
    assert split.published and len(split.source) > 40
    assert sum(split.images.values()) == TOTALS[name]
    assert list(split.classes.values()) == [tuple(sorted(names)) for names in split.classes.values()]


def test_fc100_keeps_superclasses_together_and_birds_follow_their_rule():
    assert {"boy", "girl", "man", "woman", "baby"} <= set(class_splits("fc100").classes["test"])
    birds = classes_of("cub")
    for part, chosen in (("train", range(0, 200, 2)), ("validation", range(1, 200, 4)), ("test", range(3, 200, 4))):
        assert class_splits("cub").classes[part] == tuple(birds[number] for number in chosen)


def test_every_benchmark_has_a_size_of_the_literature():
    sizes = {name: benchmark.image_size for name, benchmark in BENCHMARKS.items()}
    assert sizes == {name: (32, 32) if name in SMALL_ONES else (84, 84) for name in BENCHMARKS}
    for benchmark in BENCHMARKS.values():
        if isinstance(benchmark.source, Archive):
            kind, checksum = benchmark.source.checksum
            assert len(checksum) == {"md5": 32, "sha256": 64}[kind]


def test_the_document_says_what_the_split_files_say():
    rows = {}
    for line in (Path(__file__).resolve().parents[3] / "docs/DATASETS.md").read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        if line.startswith("| `"):
            rows[cells[0].strip("`")] = cells[1:]
    assert list(rows) == list(BENCHMARKS)
    for name, (classes, images, size, *_) in rows.items():
        split = class_splits(name)
        counts = [len(names) for names in split.classes.values()]
        assert classes.removeprefix("test only: ") == " / ".join(map(str, counts))
        assert images.removesuffix(" in all") == " / ".join(f"{count:,}" for count in split.images.values())
        assert size == "{}x{}".format(*BENCHMARKS[name].image_size)

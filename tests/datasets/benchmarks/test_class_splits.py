"""Which classes of the benchmarks train, validate and test, and at which size: as the literature has them."""

import pytest

from cml_tf.datasets import SPLITS
from cml_tf.datasets.benchmarks.catalogue import BENCHMARKS, Archive
from cml_tf.datasets.benchmarks.class_splits import class_splits
from tests.helpers.benchmark_files import classes_of
from tests.helpers.documents import ROOT

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


@pytest.mark.parametrize("name", BENCHMARKS)
def test_split_files_hold_the_published_numbers_and_their_source(name):
    split, benchmark = class_splits(name), BENCHMARKS[name]
    classes, images, size = PUBLISHED[name]
    assert tuple(len(split.classes.get(part, ())) for part in SPLITS) == classes
    assert len(set(classes_of(name))) == sum(classes)
    assert split.published and len(split.source) > 40
    assert sum(split.images.values()) == images
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
    rows = {}
    for line in (ROOT / "docs/DATASETS.md").read_text(encoding="utf-8").splitlines():
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

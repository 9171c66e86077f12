"""The image benchmarks of the few-shot literature: what they are, where their files are, and loading them.

Files are taken from `root`: the published archive as it was downloaded, or the folder that it was unpacked to. Where
there is no root, what needs neither an account nor agreement to terms is downloaded. `python -m
cml_tf.datasets.prepare NAME` says what to download, and decodes everything once; afterwards the archives are not needed
any more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cml_tf.datasets.base import DatasetError, check_image_size
from cml_tf.datasets.benchmarks.archives import AIRCRAFT, CUB, GTSRB, IMAGENET, MINI_IMAGENET, Archive
from cml_tf.datasets.benchmarks.class_splits import class_splits
from cml_tf.datasets.benchmarks.store import StoredImages
from cml_tf.datasets.benchmarks.tfds_sets import CARS, CIFAR_FS, FC100, SVHN, VGG_FLOWER, PublishedSet
from cml_tf.datasets.class_pool import ClassPool, ImageDataset
from cml_tf.datasets.omniglot.dataset import FILES, OMNIGLOT
from cml_tf.datasets.storage.cache import cache_directory
from cml_tf.datasets.storage.downloads import download

SMALL, LARGE = (32, 32), (84, 84)
# Bytes; the largest that is downloaded has 2.8 GB.
_LARGEST_ARCHIVE = 1 << 33


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """An image benchmark.

    Attributes:
      title: for people.
      image_size: height and width of the pictures, as the literature has them.
      source: the published file, or the set of TensorFlow Datasets.
    """

    title: str
    image_size: tuple[int, int]
    source: Archive | PublishedSet


BENCHMARKS: dict[str, Benchmark] = {
    "mini_imagenet": Benchmark(title="miniImageNet", image_size=LARGE, source=MINI_IMAGENET),
    "tiered_imagenet": Benchmark(title="tieredImageNet", image_size=LARGE, source=IMAGENET),
    "cifar_fs": Benchmark(title="CIFAR-FS", image_size=SMALL, source=CIFAR_FS),
    "fc100": Benchmark(title="FC100", image_size=SMALL, source=FC100),
    "vgg_flower": Benchmark(title="VGG-Flower", image_size=SMALL, source=VGG_FLOWER),
    "cub": Benchmark(title="CUB-200-2011", image_size=LARGE, source=CUB),
    "cars": Benchmark(title="Stanford Cars", image_size=LARGE, source=CARS),
    "aircraft": Benchmark(title="FGVC-Aircraft", image_size=LARGE, source=AIRCRAFT),
    "gtsrb": Benchmark(title="GTSRB (traffic signs)", image_size=SMALL, source=GTSRB),
    "svhn": Benchmark(title="SVHN", image_size=SMALL, source=SVHN),
}


def load_benchmark(name: str, root: str = "", image_size: Sequence[int] | None = None) -> ImageDataset:
    """A benchmark of `BENCHMARKS`, its images mapped from the cache; they are decoded into it when they are not there.

    Args:
      name: of the benchmark.
      root: folder with the published archive, or with what was in it; not needed once the images are in the cache.
      image_size: height and width that all images are resized to; the benchmark's own by default.

    Raises:
      DatasetError: if the files are missing, damaged, or not those of the benchmark; the message says what to do.
    """
    return ImageDataset.from_pools(name, load_pools(name, root, image_size), tuple(class_splits(name).classes))


def load_pools(name: str, root: str = "", image_size: Sequence[int] | None = None) -> dict[str, ClassPool]:
    """The images of `load_benchmark` by split."""
    source = BENCHMARKS[name].source
    folder = Path(root).expanduser() if root else None
    # What was prepared from the archive is there without it: an empty folder, or none any more, does not matter then.
    unpacked = source.unpacked(folder) if folder is not None and isinstance(source, Archive) else {}
    stored = stored_images(name, unpacked or source_key(source), image_size)
    pools = stored.read()
    if pools is not None:
        return pools
    if folder is not None and not folder.is_dir():
        raise DatasetError(f"the root of {name} must be a folder, received {folder}: check dataset.root.")
    if isinstance(source, PublishedSet):
        return stored.build(source.pictures(folder))
    return stored.build(source.verified(folder or _downloaded(name, source, stored.image_size)))


def _downloaded(name: str, source: Archive, image_size: tuple[int, int]) -> Path:
    height, width = image_size
    by_hand = (
        f"{name} is not prepared at {height}x{width} and needs {source.name} ({source.size}) from {source.url}: "
        "put it into a folder and set dataset.root to that folder (or run python -m cml_tf.datasets.prepare "
        f"{name} --root=FOLDER{_size_flag(name, image_size)} once). If you prepared it from unpacked files, set "
        "dataset.root to their folder."
    )
    if not source.direct:
        raise DatasetError(by_hand)
    try:
        path = cache_directory() / "downloads" / source.name
        return download(source.url, source.checksum, path, _LARGEST_ARCHIVE).parent
    except DatasetError as error:
        raise DatasetError(f"{by_hand} {error}") from error


def _size_flag(name: str, image_size: tuple[int, int]) -> str:
    if image_size == BENCHMARKS[name].image_size:
        return ""
    sides = image_size[:1] if image_size[0] == image_size[1] else image_size
    return "".join(f" --image_size={side}" for side in sides)


def stored_images(name: str, key: Mapping[str, Any], image_size: Sequence[int] | None = None) -> StoredImages:
    """Where the images of a benchmark are kept that were made from what `key` says."""
    split = class_splits(name)
    size = BENCHMARKS[name].image_size if image_size is None else check_image_size(image_size)
    return StoredImages(name, key, size, split.classes, split.images)


def source_key(source: Archive | PublishedSet) -> dict[str, Any]:
    """What identifies the published files of a benchmark, without looking at them."""
    if isinstance(source, PublishedSet):
        return {"tensorflow_datasets": source.builder, "parts": list(source.parts)}
    return {"archive": source.name, source.checksum[0]: source.checksum[1]}


def instructions(name: str) -> str:
    """How to prepare a benchmark of `BENCHMARKS`, or Omniglot: what to download from where into which folder."""
    title, source = ("Omniglot", FILES) if name == OMNIGLOT else (BENCHMARKS[name].title, BENCHMARKS[name].source)
    command = f"python -m cml_tf.datasets.prepare {name}"
    if isinstance(source, PublishedSet):
        lines = [
            f"TensorFlow Datasets ({source.builder}) downloads and builds {title}:",
            f"  {command}",
            *([source.note] if source.note else []),
            "If the download fails, put these files into one folder, without unpacking them, and pass that folder:",
        ]
        for file in source.pinned():
            lines += [f"  {file.name} ({file.size:,} bytes, SHA-256 {file.sha256})", f"  from {file.url}"]
    else:
        direct = [f"This command downloads {title}:", f"  {command}"] if source.direct else []
        kind, checksum = source.checksum
        lines = [
            *direct,
            f"If the download fails, download {title} by hand:" if direct else f"Download {title} by hand:",
            f"  {source.name} ({source.size}, {kind.upper()} {checksum})",
            f"  from {source.url}",
            "Put it into a folder, packed or unpacked, and pass that folder:",
        ]
    return "\n".join([*lines, f"  {command} --root=FOLDER"])

"""The image benchmarks of the few-shot literature: what they are, where their files are, and loading them.

Files are taken from `root`: the published archive as it was downloaded, or the folder that it was unpacked to. Those
that TensorFlow Datasets knows are downloaded by it where there is no root. `python -m cml_tf.datasets.prepare NAME`
says what to download, and decodes everything once; afterwards the archives are not needed any more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from cml_tf.datasets.archives import digests, members
from cml_tf.datasets.base import check_image_size, digest
from cml_tf.datasets.class_pool import ClassPool, ImageDataset
from cml_tf.datasets.class_splits import class_splits
from cml_tf.datasets.errors import DatasetError
from cml_tf.datasets.image_store import Picture, StoredImages
from cml_tf.datasets.picture_sources import (
    aircraft_pictures,
    bird_pictures,
    mini_imagenet_pictures,
    sign_pictures,
    wordnet_pictures,
)
from cml_tf.datasets.published_sets import CARS, CIFAR_FS, FC100, SVHN, VGG_FLOWER, PublishedSet

_DRIVE = "https://drive.google.com/open?id="
SMALL, LARGE = (32, 32), (84, 84)


@dataclass(frozen=True, kw_only=True)
class Archive:
    """The published file of a benchmark that its user downloads.

    Attributes:
      name: of the file.
      url: where it is; may be a page that asks to sign in or to agree to terms.
      size: about how much that is, for people.
      checksum: "md5" or "sha256" and the sum that was published, in hexadecimal.
      pictures: what is in it, or in the folder that it was unpacked to.
    """

    name: str
    url: str
    size: str
    checksum: tuple[str, str]
    pictures: Callable[[Path], Iterator[Picture]]

    def verified(self, folder: Path) -> Callable[[], Iterator[Picture]]:
        """What yields the pictures: from the archive in the folder, or else from what was in it.

        Raises:
          DatasetError: unless the archive there has the published checksum.
        """
        path = folder / self.name
        if not path.exists():
            return partial(self.pictures, folder)
        self.check(path)
        return partial(self.pictures, path)

    def check(self, path: Path) -> None:
        """Raises DatasetError unless the file at `path` has the published checksum."""
        kind, expected = self.checksum
        found = digests(path)[kind]
        if found != expected:
            raise DatasetError(
                f"{path} must have the published {kind.upper()} {expected}, received {found}; download it again. (To "
                "use other files on purpose, unpack them into a folder and give that as root.)"
            )


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """An image benchmark.

    Attributes:
      title: for people.
      image_size: height and width of the pictures, as the literature has them.
      source: the file to download by hand, or the set of TensorFlow Datasets.
    """

    title: str
    image_size: tuple[int, int]
    source: Archive | PublishedSet


_IMAGENET = Archive(
    name="ILSVRC2012_img_train.tar",
    url="https://image-net.org/challenges/LSVRC/2012/2012-downloads.php (an account and agreement to its terms)",
    size="138 GB",
    checksum=("md5", "1d675b47d978889d74fa0da5fadfb00e"),
    pictures=wordnet_pictures,
)
_MINI_IMAGENET = Archive(
    name="mini-imagenet.tar.gz",
    url=f"{_DRIVE}16V_ZlkW4SsnNDtnGmaBRq2OoPmUOc5mY (linked at github.com/renmengye/few-shot-ssl-public)",
    size="1.1 GB",
    checksum=("md5", "b38f1eb4251fb9459ecc8e7febf9b2eb"),
    pictures=mini_imagenet_pictures,
)
_CUB = Archive(
    name="CUB_200_2011.tgz",
    url="https://data.caltech.edu/records/65de6-vp158/files/CUB_200_2011.tgz?download=1",
    size="1.2 GB",
    checksum=("sha256", "0c685df5597a8b24909f6a7c9db6d11e008733779a671760afef78feb49bf081"),
    pictures=bird_pictures,
)
_AIRCRAFT = Archive(
    name="fgvc-aircraft-2013b.tar.gz",
    url="https://www.robots.ox.ac.uk/~vgg/data/fgvc-aircraft/archives/fgvc-aircraft-2013b.tar.gz",
    size="2.8 GB",
    checksum=("md5", "d4acdd33327262359767eeaa97a4f732"),
    pictures=aircraft_pictures,
)
_GTSRB = Archive(
    name="GTSRB_Final_Training_Images.zip",
    url="https://sid.erda.dk/public/archives/daaeac0d7ce1152aea9b61d9f1e19370/GTSRB_Final_Training_Images.zip",
    size="276 MB",
    checksum=("md5", "f33fd80ac59bff73c82d25ab499e03a3"),
    pictures=sign_pictures,
)

BENCHMARKS: dict[str, Benchmark] = {
    "mini_imagenet": Benchmark(title="miniImageNet", image_size=LARGE, source=_MINI_IMAGENET),
    "tiered_imagenet": Benchmark(title="tieredImageNet", image_size=LARGE, source=_IMAGENET),
    "cifar_fs": Benchmark(title="CIFAR-FS", image_size=SMALL, source=CIFAR_FS),
    "fc100": Benchmark(title="FC100", image_size=SMALL, source=FC100),
    "vgg_flower": Benchmark(title="VGG-Flower", image_size=SMALL, source=VGG_FLOWER),
    "cub": Benchmark(title="CUB-200-2011", image_size=LARGE, source=_CUB),
    "cars": Benchmark(title="Stanford Cars", image_size=LARGE, source=CARS),
    "aircraft": Benchmark(title="FGVC-Aircraft", image_size=LARGE, source=_AIRCRAFT),
    "gtsrb": Benchmark(title="GTSRB (traffic signs)", image_size=SMALL, source=_GTSRB),
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
    unpacked = _unpacked(source, folder)
    stored = stored_images(name, unpacked or source_key(source), image_size)
    pools = stored.read()
    if pools is not None:
        return pools
    if folder is not None and not folder.is_dir():
        raise DatasetError(f"the {name} root must be a folder, {folder} is none; check dataset.root.")
    if isinstance(source, PublishedSet):
        return stored.build(source.pictures(folder))
    if folder is None:
        height, width = stored.image_size
        raise DatasetError(
            f"{name} needs {source.name} ({source.size}) from {source.url}, since it was not prepared at "
            f"{height}x{width}: put it into a folder and give that as dataset.root (or run python -m "
            f"cml_tf.datasets.prepare {name} --root=FOLDER{_size_flag(name, stored.image_size)} once). What was "
            "prepared from unpacked files is found with their folder as dataset.root."
        )
    if not unpacked and not (folder / source.name).exists():
        raise DatasetError(f"{folder} must hold {source.name} or its content, it is empty; check dataset.root.")
    return stored.build(source.verified(folder))


def _size_flag(name: str, image_size: tuple[int, int]) -> str:
    if image_size == BENCHMARKS[name].image_size:
        return ""
    sides = image_size[:1] if image_size[0] == image_size[1] else image_size
    return "".join(f" --image_size={side}" for side in sides)


def archive_of(name: str) -> Archive:
    """The archive of a benchmark of `BENCHMARKS`.

    Raises:
      ValueError: if it has none that is downloaded by hand.
    """
    source = BENCHMARKS[name].source
    if isinstance(source, PublishedSet):
        raise ValueError(f"{name} is downloaded by TensorFlow Datasets ({source.builder}), not by hand.")
    return source


def stored_images(name: str, key: Mapping[str, Any], image_size: Sequence[int] | None = None) -> StoredImages:
    """Where the images of a benchmark are kept that were made from what `key` says."""
    split = class_splits(name)
    size = BENCHMARKS[name].image_size if image_size is None else check_image_size(image_size)
    return StoredImages(name, key, size, split.classes, split.images)


def source_key(source: Archive | PublishedSet) -> dict[str, Any]:
    """What identifies the published files of a benchmark, without looking at them."""
    if isinstance(source, PublishedSet):
        return {"tensorflow_datasets": source.builder}
    return {"archive": source.name, source.checksum[0]: source.checksum[1]}


def _unpacked(source: Archive | PublishedSet, folder: Path | None) -> dict[str, Any]:
    """Identifies what a folder holds instead of the archive by names, sizes and times; empty if there is nothing."""
    if folder is None or not folder.is_dir() or isinstance(source, PublishedSet) or (folder / source.name).exists():
        return {}
    stamps = []
    for member in members(folder):
        status = (folder / member.place).stat()
        stamps.append([member.place, status.st_size, status.st_mtime_ns])
    return {"files": digest(stamps)} if stamps else {}

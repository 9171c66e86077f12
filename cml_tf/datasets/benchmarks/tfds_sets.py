"""Image sets that TensorFlow Datasets knows how to get, as pictures by class."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from cml_tf.datasets.base import DatasetError
from cml_tf.datasets.benchmarks.layouts import cut_fractions
from cml_tf.datasets.benchmarks.store import Picture
from cml_tf.datasets.storage.cache import cache_directory, scratch_directory
from cml_tf.datasets.storage.downloads import check_online
from cml_tf.system.file_faults import DISK_FAULTS
from cml_tf.system.files import locked


class PublishedFile(NamedTuple):
    """A file as TensorFlow Datasets pins it: its name, where it is, its size in bytes, and its SHA-256."""

    name: str
    url: str
    size: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class PublishedSet:
    """A set of TensorFlow Datasets.

    Attributes:
      builder: name and version there.
      parts: which of its splits are used.
      files: the files that it downloads, and from where; with a root they are taken from there instead.
      class_of: the class of one of its examples, from the name that the set has for the label and the label itself.
      cut: whether pictures are cut to the box that the set has for them.
      online: whether the addresses of the files still answer.
      note: what else somebody who has to get the files must know, as a sentence; empty for nothing.
    """

    builder: str
    parts: tuple[str, ...]
    files: Mapping[str, str]
    class_of: Callable[[str, int], str] = field(default=lambda name, label: name)
    cut: bool = False
    online: bool = True
    note: str = ""

    def pinned(self) -> list[PublishedFile]:
        """The files with the sizes and checksums that TensorFlow Datasets will ask for; imports it."""
        import tensorflow_datasets as tfds

        known = {info.filename: info for info in tfds.builder_cls(self.builder.split(":")[0]).url_infos.values()}
        return [
            PublishedFile(name, url, int(known[name].size), known[name].checksum) for name, url in self.files.items()
        ]

    def pictures(self, folder: Path | None) -> Callable[[], Iterator[Picture]]:
        """Downloads and prepares the set where that was not done before, and gives what yields its pictures.

        When another process is about it already, this one waits and takes what that has made.

        Args:
          folder: has the files; None to download them.

        Raises:
          DatasetError: if the files are missing, damaged, or cannot be downloaded.
        """
        if folder is not None and (missing := [name for name in self.files if not (folder / name).is_file()]):
            addresses = ", ".join(self.files[name] for name in missing)
            remedy = f" Download them from {addresses}, or leave out the root to let TensorFlow Datasets do it."
            raise DatasetError(
                f"{folder} must contain {', '.join(self.files)}; missing: {', '.join(missing)}."
                f"{remedy if self.online else ''}{self._noted}"
            )
        try:
            return partial(self._yield, self._prepared(folder))
        except DatasetError:
            raise
        except ImportError as error:
            raise DatasetError(
                f"TensorFlow Datasets is not completely installed: run pip install {error.name}."
            ) from error
        except Exception as error:  # Whatever the downloading libraries raise, the remedy is the same.
            if isinstance(error, OSError) and error.errno in DISK_FAULTS:
                raise
            raise DatasetError(self._remedy(folder, error)) from error

    def _prepared(self, folder: Path | None) -> Any:
        import tensorflow_datasets as tfds  # Takes seconds to import, and is needed only once a set.

        # What is made of somebody's files stays apart from what was downloaded.
        own = {} if folder is None else {"data_dir": str(cache_directory() / "tensorflow_datasets")}
        builder = tfds.builder(self.builder, **own)
        if builder.is_prepared():
            return builder
        place = Path(builder.data_dir)
        # Beside the folders of all sets: TensorFlow Datasets makes that of this one, and moves it, as it goes.
        with locked(place.parents[1] / f"{place.parent.name}-{place.name}.prepare", wait=True):
            # Made anew, since it reads what is prepared when it is made.
            builder = tfds.builder(self.builder, **own)
            if not builder.is_prepared():
                self._prepare(builder, folder)
        return builder

    def _prepare(self, builder: Any, folder: Path | None) -> None:
        if folder is None:
            check_online(str(urlsplit(next(iter(self.files.values()))).hostname))
            builder.download_and_prepare()
            return
        import tensorflow_datasets as tfds

        # What an earlier extraction left, it would take for the content of the files without a look.
        with scratch_directory(f"extracted-{builder.name}") as extracted:
            settings = tfds.download.DownloadConfig(
                manual_dir=str(folder), extract_dir=str(extracted), try_download_gcs=False
            )
            builder.download_and_prepare(download_config=settings, download_dir=str(cache_directory() / "downloads"))

    def _yield(self, builder: Any) -> Iterator[Picture]:
        import tensorflow_datasets as tfds

        names = builder.info.features["label"]
        # Undecoded, so that pictures pass through the same preprocessing wherever they come from.
        decoders = {"image": tfds.decode.SkipDecoding()}
        for part in self.parts:
            examples = builder.as_dataset(split=part, decoders=decoders, shuffle_files=False)
            for number, example in enumerate(examples.as_numpy_iterator()):
                label = int(example["label"])
                name = f"{part}/{number:06d}"
                content = example["image"]
                read: Callable[[], bytes] = partial(bytes, content)
                if self.cut:
                    read = partial(cut_fractions, read, tuple(example["bbox"]), f"{self.builder}: {name}")
                yield Picture(self.class_of(names.int2str(label), label), name, read)

    def _remedy(self, folder: Path | None, error: Exception) -> str:
        cause = f"({type(error).__name__}: {' '.join(str(error).split())})"
        if folder is not None:
            return (
                f"{self.builder} cannot be built from the files in {folder}: download {', '.join(self.files)} again "
                f"from {', '.join(self.files.values())}.{self._noted} {cause}"
            )
        return (
            f"TensorFlow Datasets cannot download {self.builder}: go online, or set dataset.root to a folder with "
            f"{', '.join(self.files)}.{self._noted} {cause}"
        )

    @property
    def _noted(self) -> str:
        return f" {self.note}" if self.note else ""


def _numbered_flower(name: str, label: int) -> str:
    """The split has the published numbers, from 1, in its names."""
    return f"{label + 1:03d}.{name}"


_CIFAR_FILES = {"cifar-100-binary.tar.gz": "https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz"}
_FLOWERS = "https://www.robots.ox.ac.uk/~vgg/data/flowers/102"
_CARS = "http://ai.stanford.edu/~jkrause/car196"
_DIGITS = "http://ufldl.stanford.edu/housenumbers"

CIFAR_FS = PublishedSet(builder="cifar100:3.0.2", parts=("train", "test"), files=_CIFAR_FILES)
FC100 = CIFAR_FS
VGG_FLOWER = PublishedSet(
    builder="oxford_flowers102:2.1.1",
    parts=("train", "validation", "test"),
    files={name: f"{_FLOWERS}/{name}" for name in ("102flowers.tgz", "imagelabels.mat", "setid.mat")},
    class_of=_numbered_flower,
)
CARS = PublishedSet(
    builder="cars196:2.1.0",
    # BOIL reads no others.
    parts=("train",),
    files={
        "cars_train.tgz": f"{_CARS}/cars_train.tgz",
        "cars_test.tgz": f"{_CARS}/cars_test.tgz",
        "cars_test_annos_withlabels.mat": f"{_CARS}/cars_test_annos_withlabels.mat",
        "car_devkit.tgz": "https://ai.stanford.edu/~jkrause/cars/car_devkit.tgz",
    },
    cut=True,
    online=False,
    note=(
        "Their addresses no longer work; use any copy of the files with these names, sizes and checksums. "
        "TensorFlow Datasets needs all four, although only the training pictures are used."
    ),
)
SVHN = PublishedSet(
    builder="svhn_cropped:3.1.0",
    parts=("test",),
    files={name: f"{_DIGITS}/{name}" for name in ("train_32x32.mat", "test_32x32.mat", "extra_32x32.mat")},
    note="TensorFlow Datasets needs all three files, although only the test part is used.",
)

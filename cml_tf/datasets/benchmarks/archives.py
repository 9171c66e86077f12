"""The published files of the benchmarks that TensorFlow Datasets does not get, or not as they are needed."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from cml_tf.datasets.base import DatasetError, digest
from cml_tf.datasets.benchmarks.layouts import (
    AIRCRAFT_FILES,
    BIRD_FILES,
    MINI_IMAGENET_FILES,
    SIGN_FILES,
    WORDNET_FILES,
    aircraft_pictures,
    bird_pictures,
    mini_imagenet_pictures,
    sign_pictures,
    wordnet_pictures,
)
from cml_tf.datasets.benchmarks.store import Picture
from cml_tf.datasets.storage.archives import digests, files

_DRIVE = "https://drive.google.com/open?id="
_ARCHIVES = (".zip", ".tar", ".tgz", ".gz")


@dataclass(frozen=True, kw_only=True)
class Archive:
    """The published file of a benchmark.

    Attributes:
      name: of the file.
      url: where it is; may be a page that asks to sign in or to agree to terms.
      direct: whether the address gives the file to anybody, so that it can be downloaded without its user.
      size: about how much that is, for people.
      checksum: "md5" or "sha256" and the sum that was published, in hexadecimal.
      pictures: what is in it, or in the folder that it was unpacked to.
      files: found in the places of the files that `pictures` looks at; .tar files are looked into besides.
      layout: what of it a folder must hold, for people.
    """

    name: str
    url: str
    direct: bool = False
    size: str
    checksum: tuple[str, str]
    pictures: Callable[[Path], Iterator[Picture]]
    files: re.Pattern[str]
    layout: str

    def verified(self, folder: Path) -> Callable[[], Iterator[Picture]]:
        """What yields the pictures: from the archive in the folder, or else from what was in it.

        Raises:
          DatasetError: unless the archive there has the published checksum, or if there is nothing of it.
        """
        path = folder / self.name
        if path.is_file():
            self.check(path)
            return partial(self._yield, path)
        if not self.unpacked(folder):
            raise self._nothing(folder)
        return partial(self._yield, folder)

    def check(self, path: Path) -> None:
        """Raises DatasetError unless the file at `path` has the published checksum."""
        kind, expected = self.checksum
        found = digests(path)[kind]
        if found != expected:
            raise DatasetError(
                f"{path} must have the published {kind.upper()} {expected}, received {found}: download it again. "
                "To use other files on purpose, unpack them into a folder and pass that folder as root."
            )

    def unpacked(self, folder: Path) -> dict[str, Any]:
        """Identifies what of the benchmark a folder holds instead of the archive by names, sizes and times.

        Empty if that is nothing, or the archive is there. Other files do not matter.
        """
        if not folder.is_dir() or (folder / self.name).is_file():
            return {}
        stamps = [
            [file.place, file.size, file.changed]
            for file in files(folder)
            if file.place.endswith(".tar") or self.files.search(file.place)
        ]
        return {"files": digest(stamps)} if stamps else {}

    def _yield(self, path: Path) -> Iterator[Picture]:
        nothing = True
        for picture in self.pictures(path):
            nothing = False
            yield picture
        if nothing:
            raise self._nothing(path)

    def _nothing(self, path: Path) -> DatasetError:
        message = f"{path} must contain {self.name} or its unpacked files ({self.layout}), found neither"
        if other := self._renamed(path):
            return DatasetError(f"{message}, but found {other!r}: rename it to {self.name} if it is the archive.")
        return DatasetError(f"{message}: check dataset.root.")

    def _renamed(self, folder: Path) -> str:
        """The file in a folder that most looks like the archive under another name, which browsers give; or ''."""
        stem = self.name.split(".")[0].lower()
        names = sorted(entry.name for entry in folder.iterdir() if entry.is_file()) if folder.is_dir() else []
        similar = [name for name in names if stem in name.lower()]
        return next(iter(similar or [name for name in names if name.lower().endswith(_ARCHIVES)]), "")


IMAGENET = Archive(
    name="ILSVRC2012_img_train.tar",
    url="https://image-net.org/challenges/LSVRC/2012/2012-downloads.php (needs an account and agreement to its terms)",
    size="138 GB",
    checksum=("md5", "1d675b47d978889d74fa0da5fadfb00e"),
    pictures=wordnet_pictures,
    files=WORDNET_FILES,
    layout="a folder or a .tar file of JPEG files for each WordNet number, n01440764/NAME.JPEG",
)
MINI_IMAGENET = Archive(
    name="mini-imagenet.tar.gz",
    url=f"{_DRIVE}16V_ZlkW4SsnNDtnGmaBRq2OoPmUOc5mY (linked at github.com/renmengye/few-shot-ssl-public)",
    size="1.1 GB",
    checksum=("md5", "b38f1eb4251fb9459ecc8e7febf9b2eb"),
    pictures=mini_imagenet_pictures,
    files=MINI_IMAGENET_FILES,
    layout="mini-imagenet-cache-train.pkl, -val.pkl and -test.pkl, or JPEG files whose name or folder begins with a "
    "WordNet number",
)
CUB = Archive(
    name="CUB_200_2011.tgz",
    url="https://data.caltech.edu/records/65de6-vp158/files/CUB_200_2011.tgz?download=1",
    direct=True,
    size="1.2 GB",
    checksum=("sha256", "0c685df5597a8b24909f6a7c9db6d11e008733779a671760afef78feb49bf081"),
    pictures=bird_pictures,
    files=BIRD_FILES,
    layout="001.Black_footed_Albatross/NAME.jpg and so on",
)
AIRCRAFT = Archive(
    name="fgvc-aircraft-2013b.tar.gz",
    url="https://www.robots.ox.ac.uk/~vgg/data/fgvc-aircraft/archives/fgvc-aircraft-2013b.tar.gz",
    direct=True,
    size="2.8 GB",
    checksum=("md5", "d4acdd33327262359767eeaa97a4f732"),
    pictures=aircraft_pictures,
    files=AIRCRAFT_FILES,
    layout="images/0034309.jpg and so on, images_variant_trainval.txt, images_variant_test.txt and images_box.txt",
)
GTSRB = Archive(
    name="GTSRB_Final_Training_Images.zip",
    url="https://sid.erda.dk/public/archives/daaeac0d7ce1152aea9b61d9f1e19370/GTSRB_Final_Training_Images.zip",
    direct=True,
    size="276 MB",
    checksum=("md5", "f33fd80ac59bff73c82d25ab499e03a3"),
    pictures=sign_pictures,
    files=SIGN_FILES,
    layout="00014/00003_00029.ppm and so on",
)

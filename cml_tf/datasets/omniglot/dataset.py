"""Omniglot: handwritten characters of many alphabets, 20 drawings each, as 28 x 28 pictures, black on white.

Where the drawings come from, and what the splits then are:

- `root` holds images_background and images_evaluation (folders or the original .zip files): training classes are the
  characters of the background set, test classes those of the evaluation set.
- `root` holds images_background_small1 and images_background_small2 (folders or .zip): the first trains, the second
  tests.
- `root` holds the folders of the alphabets themselves: in the order of their names the last fifth (at least one) of the
  alphabets tests.
- no `root`: TensorFlow Datasets downloads the background and the evaluation set.

In all cases an alphabet that is in the training part is left out of the test part (Greek and Latin are in both small
sets), and validation gets whole alphabets of the training part, which then does not have them: those of
`VALIDATION_ALPHABETS` (of the small sets only Early_Aramaic) or, where there is none of these, the last fifth by name,
at least one. Training classes are used in four rotations by 0, 90, 180 and 270 degrees, each a class of its own.

Omniglot as it was published: its files and the numbers of its drawings, which preparing compares.

Training does not compare them: there may be reasons to leave some alphabets out.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import tensorflow as tf

from cml_tf.datasets.base import DatasetError
from cml_tf.datasets.benchmarks.tfds_sets import PublishedSet
from cml_tf.datasets.class_pool import ClassPool, ImageDataset
from cml_tf.datasets.image_files import decode_contents
from cml_tf.datasets.omniglot.files import DrawingSet, open_drawings
from cml_tf.datasets.storage.archives import digests
from cml_tf.datasets.storage.cache import cached_arrays
from cml_tf.datasets.storage.downloads import check_online

VALIDATION_ALPHABETS = ("Bengali", "Early_Aramaic", "Hebrew", "Mkhedruli_(Georgian)", "Tifinagh")
PAIRS = (
    ("images_background", "images_evaluation"),
    ("images_background_small1", "images_background_small2"),
)
SIZE = 28
_ROTATIONS = 4
_RECIPE = 1
_HOST = "github.com"  # Where TensorFlow Datasets takes Omniglot from.
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Characters:
    """Pictures by character, sorted: names ("Greek/character01"), number of drawings, uint8 `[drawings, 28, 28, 1]`."""

    names: tuple[str, ...]
    counts: np.ndarray
    images: np.ndarray

    @property
    def alphabets(self) -> tuple[str, ...]:
        """The names of the alphabets, sorted."""
        return tuple(sorted({_alphabet(name) for name in self.names}))

    def of(self, alphabets: Sequence[str]) -> ClassPool:
        """The characters of some alphabets."""
        chosen = np.array([_alphabet(name) in alphabets for name in self.names])
        names = tuple(name for name, taken in zip(self.names, chosen, strict=True) if taken)
        return ClassPool(names, self.counts[chosen], self.images[np.repeat(chosen, self.counts)])


def load_omniglot(root: str = "") -> ImageDataset:
    """Omniglot from files under `root`, or from TensorFlow Datasets.

    Raises:
      DatasetError: if the files are missing or damaged, or cannot be downloaded; the message says what to do.
    """
    parts = list(drawn_sets(root).values())
    background = parts[0]
    if len(parts) == 2:
        known, unseen = background.alphabets, parts[1]
    else:
        known, _ = _hold_out(background.alphabets, root)
        unseen = background
    train, validation = _hold_out(known, root, preferred=VALIDATION_ALPHABETS)
    test = tuple(alphabet for alphabet in unseen.alphabets if alphabet not in known)
    if not test:
        raise DatasetError(f"{root} must contain test alphabets that are not in the training part, found none.")
    _LOG.info("omniglot: validation alphabets %s; test alphabets %s", ", ".join(validation), ", ".join(test))
    pools = {"train": rotated(background.of(train)), "validation": background.of(validation), "test": unseen.of(test)}
    return ImageDataset.from_pools("omniglot", pools)


def drawn_sets(root: str = "") -> dict[str, Characters]:
    """The sets of drawings by the name of their folder or zip file: two, or one folder of alphabets.

    Raises:
      DatasetError: as `load_omniglot`.
    """
    return _from_root(Path(root).expanduser()) if root else _from_tensorflow_datasets()


def rotated(pool: ClassPool) -> ClassPool:
    """Every class four times, turned by 0, 90, 180 and 270 degrees anticlockwise; names end in /rot000 ... /rot270."""
    names = tuple(f"{name}/rot{90 * turns:03d}" for turns in range(_ROTATIONS) for name in pool.class_names)
    images = np.concatenate([np.rot90(pool.images, turns, axes=(1, 2)) for turns in range(_ROTATIONS)])
    return ClassPool(names, np.tile(pool.counts, _ROTATIONS), images)


def _hold_out(
    alphabets: Sequence[str], root: str, preferred: Sequence[str] = ()
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Splits alphabets into those that stay and those that are held out."""
    held = tuple(alphabet for alphabet in alphabets if alphabet in preferred)
    if not held:
        held = tuple(alphabets[-max(1, len(alphabets) // 5) :])
    kept = tuple(alphabet for alphabet in alphabets if alphabet not in held)
    if not kept:
        raise DatasetError(
            f"{root} must contain enough alphabets to reserve some for validation and testing, found only "
            f"{', '.join(alphabets)}."
        )
    return kept, held


def _from_root(root: Path) -> dict[str, Characters]:
    if not root.is_dir():
        raise DatasetError(f"the root of omniglot must be a folder, received {root}: check dataset.root.")
    for pair in PAIRS:
        found = [_either(root, name) for name in pair]
        present = [path for path in found if path is not None]
        if len(present) == len(pair):
            return {name: _decoded(open_drawings(path)) for name, path in zip(pair, present, strict=True)}
        if present:
            missing = pair[found.index(None)]
            raise DatasetError(
                f"{root} must contain both parts, found {present[0].name} but not {missing} or {missing}.zip: put it "
                "there too."
            )
    return {root.name: _decoded(open_drawings(root))}


def _either(root: Path, name: str) -> Path | None:
    folder, archive = root / name, root / f"{name}.zip"
    return folder if folder.is_dir() else archive if archive.is_file() else None


def _decoded(drawings: DrawingSet) -> Characters:
    def build() -> dict[str, np.ndarray]:
        contents = drawings.read(drawings.drawings)
        files = [f"{drawings.path}: {drawing.place}" for drawing in drawings.drawings]
        return _arrays([drawing.character for drawing in drawings.drawings], contents, files)

    return _cached({"drawings": drawings.fingerprint}, build)


def _from_tensorflow_datasets() -> dict[str, Characters]:
    splits = zip(PAIRS[0], ("train", "test"), strict=True)
    return {name: _cached({"tensorflow_datasets": split}, partial(_download, split)) for name, split in splits}


def _download(split: str) -> dict[str, np.ndarray]:
    try:
        import tensorflow_datasets as tfds  # Takes seconds to import, and only this path needs it.

        builder = tfds.builder("omniglot")
        if not builder.is_prepared():
            check_online(_HOST)
            builder.download_and_prepare()
        # Undecoded, so that drawings pass through the same preprocessing wherever they come from.
        dataset = builder.as_dataset(split=split, decoders={"image": tfds.decode.SkipDecoding()}, shuffle_files=False)
        examples = list(dataset.as_numpy_iterator())
        alphabets = builder.info.features["alphabet"]
    except ImportError as error:
        raise DatasetError(f"TensorFlow Datasets is not completely installed: run pip install {error.name}.") from error
    except Exception as error:  # Whatever the downloading libraries raise, the remedy is the same.
        raise DatasetError(
            "TensorFlow Datasets cannot download omniglot: go online, or set dataset.root to a folder with "
            f"images_background.zip and images_evaluation.zip. ({type(error).__name__}: {' '.join(str(error).split())})"
        ) from error
    names = [
        f"{alphabets.int2str(int(example['alphabet']))}/character{int(example['alphabet_char_id']) + 1:02d}"
        for example in examples
    ]
    order = sorted(range(len(names)), key=names.__getitem__)
    return _arrays([names[i] for i in order], [examples[i]["image"] for i in order], [names[i] for i in order])


def _arrays(characters: Sequence[str], contents: Sequence[bytes], files: Sequence[str]) -> dict[str, np.ndarray]:
    """`characters` are sorted and name the class of each file."""
    names, counts = np.unique(np.array(characters), return_counts=True)
    images = decode_contents(contents, names=files, image_size=(SIZE, SIZE), channels=1)
    return {"names": names, "counts": counts.astype(np.int64), "images": images}


def _cached(key: dict[str, str], build: Callable[[], dict[str, np.ndarray]]) -> Characters:
    arrays = cached_arrays("omniglot", {**key, "tensorflow": tf.__version__, "recipe": _RECIPE}, build)
    return Characters(tuple(str(name) for name in arrays["names"]), arrays["counts"], arrays["images"])


def _alphabet(name: str) -> str:
    return name.split("/")[0]


OMNIGLOT = "omniglot"
SPLIT = (
    "Lake, Salakhutdinov and Tenenbaum, Human-level concept learning through probabilistic program induction, Science "
    "2015: the background set trains, the evaluation set tests, without the alphabets that the first has; whole "
    "alphabets of the first validate"
)
_ADDRESS = "https://github.com/brendenlake/omniglot/raw/master/python"
FILES = PublishedSet(
    builder="omniglot:3.0.0",
    parts=("train", "test"),
    files={f"{name}.zip": f"{_ADDRESS}/{name}.zip" for name in PAIRS[0]},
)
# Of the small sets only that every character was drawn by as many people.
CHARACTERS = {"images_background": 964, "images_evaluation": 659}
DRAWINGS = 20


def prepared_omniglot(root: str = "") -> dict[str, ClassPool]:
    """The drawings by split, which the cache has from now on, if they are all that was published.

    Args:
      root: see `load_omniglot`.

    Raises:
      DatasetError: if files are missing, damaged or not those that were published, or cannot be downloaded.
    """
    if root:
        _check_files(Path(root).expanduser())
    for name, characters in drawn_sets(root).items():
        _check_numbers(name, characters)
    return dict(load_omniglot(root).pools)


def _check_files(root: Path) -> None:
    # Where a folder is beside the zip file, it is the one that is read.
    zipped = [name for name in PAIRS[0] if (root / f"{name}.zip").is_file() and not (root / name).is_dir()]
    for file in FILES.pinned() if zipped else ():
        path = root / file.name
        if path.stem in zipped and (found := digests(path)["sha256"]) != file.sha256:
            raise DatasetError(
                f"{path} must have the published SHA-256 {file.sha256}, received {found}: download it again from "
                f"{file.url}."
            )


def _check_numbers(name: str, characters: Characters) -> None:
    if not any(name in pair for pair in PAIRS):
        return  # Somebody's own folder of alphabets.
    expected = CHARACTERS.get(name, len(characters.names))
    if len(characters.names) != expected:
        raise DatasetError(
            f"{name} must have {expected} characters with {expected * DRAWINGS} drawings, found "
            f"{len(characters.names)} with {int(characters.counts.sum())}: the files are incomplete. Download them "
            "again."
        )
    if (short := np.flatnonzero(characters.counts != DRAWINGS)).size:
        raise DatasetError(
            f"{name} must have {DRAWINGS} drawings of every character, found {characters.counts[short[0]]} of "
            f"{characters.names[short[0]]}: the files are incomplete. Download them again."
        )

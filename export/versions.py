"""Versions of a served model: directories named by integers, which appear whole or not at all.

Each has a manifest of its files among what TensorFlow Serving leaves alone.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cml_tf.system.manifest import MANIFEST, check_manifest, digests_of, write_manifest
from export.errors import ExportError

# TensorFlow Serving reads the name as an int64 and skips names that are none.
_LARGEST = 2**63 - 1
_SAVED_MODEL = "saved_model.pb"
_DRAFT, _SECONDS_AN_HOUR = ".export-", 3600
EXTRA, CARD = "assets.extra", "model_card.json"


def existing_versions(model_dir: Path) -> dict[int, Path]:
    """The version directories of a model by number; leading zeros count as TensorFlow Serving counts them."""
    if not model_dir.is_dir():
        return {}
    names = (path for path in model_dir.iterdir() if path.name.isascii() and path.name.isdigit())
    return {int(path.name): path for path in names if int(path.name) <= _LARGEST}


def why_no_version(model_dir: Path) -> str:
    """What stands in a place without a version, what a version is called and what to do, in one line."""
    example = f"{model_dir / '1'}"
    if not model_dir.exists():
        found, remedy = "it does not exist", "Create it, or choose another directory"
    elif not model_dir.is_dir():
        found, remedy = "it is a file", "Use the directory of the model"
    elif (model_dir / _SAVED_MODEL).exists():
        found, remedy = f"it contains {_SAVED_MODEL}, so it is a version itself", f"Use {model_dir.parent}"
        if not (model_dir.name.isascii() and model_dir.name.isdigit()):
            remedy = f"Move its contents to {example}"
    else:
        others = sorted(path.name for path in model_dir.iterdir() if path.is_dir() and not path.name.startswith("."))
        shown = ", ".join(others[:5]) + (", ..." if len(others) > 5 else "")
        found, remedy = (f"it contains {shown}", "Rename them") if others else ("it is empty", "Put a version there")
    return (
        f"{model_dir} contains no version: {found}. A version is a directory with a number as its name that contains "
        f"{_SAVED_MODEL}, such as {example}. {remedy}."
    )


@dataclass
class Draft:
    """A version in the making.

    Attributes:
      path: the directory to write to.
      published: where it stands in the end; None until then.
    """

    path: Path
    published: Path | None = None


@contextlib.contextmanager
def new_version(model_dir: Path, version: int | None = None) -> Iterator[Draft]:
    """A temporary directory that becomes `model_dir/version` when the block ends without an error.

    Args:
      model_dir: what a server is pointed at; made if it is not there.
      version: positive; one more than the newest by default.

    Yields:
      The draft: a directory in the same file system, under a name that servers skip. After an error it is gone, and so
      is every directory that was made for it.

    Raises:
      ExportError: if the version exists, or cannot be one.
    """
    check_new_version(model_dir, version)
    made = _make_directories(model_dir)
    _clear_leftovers(model_dir)
    temporary = Path(tempfile.mkdtemp(prefix=_DRAFT, dir=model_dir))
    try:
        with _held(temporary):
            draft = Draft(temporary)
            yield draft
            write_manifest(temporary / EXTRA / MANIFEST, digests_of(temporary, _files(temporary)))
            temporary.chmod(0o755)
            _sync_tree(temporary)
            draft.published = _publish(temporary, model_dir, version)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        for directory in made:
            # Another export may have put something there meanwhile.
            with contextlib.suppress(OSError):
                directory.rmdir()
        raise


def check_new_version(model_dir: Path, version: int | None) -> None:
    """Raises ExportError if a version of a model exists, or cannot be one; arguments as of `new_version`."""
    if model_dir.exists() and not model_dir.is_dir():
        raise ExportError(f"{model_dir} must be a directory, received a file.")
    if version is not None:
        _check_version(model_dir, version)


def check_files(version: Path) -> None:
    """Compares a version with its manifest; what was exported before there were any is loaded with a warning.

    Raises:
      DamagedFile: for the first file that is missing, or not what was written.
    """
    if not check_manifest(version, version / EXTRA / MANIFEST) and (version / EXTRA / CARD).is_file():
        _warn_of_unsealed(version)


@functools.cache
def _warn_of_unsealed(version: Path) -> None:
    logging.getLogger(__name__).warning(
        "%s is from before exports had a %s: damage may go unseen. Export it again.", version, MANIFEST
    )


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


@contextlib.contextmanager
def _held(directory: Path) -> Iterator[None]:
    """Locks a draft, so that nobody takes it for one whose writer was killed."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _clear_leftovers(model_dir: Path) -> None:
    """Removes drafts that no living process has locked. One is not locked for a moment after it is made: an hour."""
    for path in model_dir.glob(f"{_DRAFT}*"):
        try:
            if time.time() - path.stat().st_mtime < _SECONDS_AN_HOUR:
                continue
            descriptor = os.open(path, os.O_RDONLY)
        except FileNotFoundError:
            # Another export has renamed or removed it.
            continue
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            continue
        else:
            shutil.rmtree(path)
        finally:
            os.close(descriptor)


def _check_version(model_dir: Path, version: int) -> None:
    if not 1 <= version <= _LARGEST:
        raise ExportError(f"version must be an integer from 1 to {_LARGEST}, received {version}.")
    if version in (existing := existing_versions(model_dir)):
        raise ExportError(
            f"version {version} exists ({existing[version]}), and servers would not notice that it changed. Leave out "
            "--version to use the next number, or remove the version first."
        )


def _make_directories(path: Path) -> list[Path]:
    """Makes a directory with its parents and returns those that were not there, the deepest first."""
    missing = [directory for directory in (path, *path.parents) if not directory.exists()]
    path.mkdir(parents=True, exist_ok=True)
    return missing


def _publish(temporary: Path, model_dir: Path, version: int | None) -> Path:
    while True:
        number = version or max(existing_versions(model_dir), default=0) + 1
        # One that nobody asked for may be taken by another export at any time: then the next one is.
        if version is not None or number > _LARGEST:
            _check_version(model_dir, number)
        try:
            # Fails if another export took the number meanwhile: a directory cannot replace one that is not empty.
            os.rename(temporary, model_dir / str(number))
        except OSError:
            if version is None and number in existing_versions(model_dir):
                continue
            raise
        _sync(model_dir)
        return model_dir / str(number)


def _sync_tree(root: Path) -> None:
    for path in (*root.rglob("*"), root):
        _sync(path)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

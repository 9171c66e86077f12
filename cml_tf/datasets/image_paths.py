"""Which files of a folder are images, and which of its folders are classes. Needs no TensorFlow, as clients do not.

Links are followed. Hidden files and folders are passed over; other files too, with a warning that names them.
"""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Sequence
from pathlib import Path

from cml_tf.boundary.labels import ClassNameError, folder_classes
from cml_tf.errors import DatasetError

MOST_FOLDERS = 100
SUFFIXES = (".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".gif")
# What systems leave in folders, beside names that begin with a dot.
_SYSTEM_NAMES = {"__macosx", "@eadir", "thumbs.db", "desktop.ini"}
_KINDS = "PNG, JPEG, BMP or GIF"
_SPECIAL = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)
_LOG = logging.getLogger(__name__)


def class_folders(path: Path) -> dict[str, Path]:
    """The folders in a folder by the names of their classes, sorted, hidden ones passed over.

    Images beside them are told in a warning.

    Raises:
      DatasetError: if there are none, two are one class (see `cml_tf.boundary.labels`), or a link leads nowhere.
    """
    visible = _visible(path)
    folders = [entry.name for entry in visible if entry.is_dir()]
    if not folders:
        raise DatasetError(f"{path} must contain a folder for every class, found none.")
    if loose := [entry.name for entry in visible if entry.name.lower().endswith(SUFFIXES) and not entry.is_dir()]:
        _LOG.warning("%s: ignoring images outside the class folders: %s.", path, _first(loose))
    try:
        return {name: path / folder for name, folder in sorted(folder_classes(folders).items())}
    except ClassNameError as error:
        raise DatasetError(f"{path}: {error}") from error


def image_files(folder: Path) -> list[str]:
    """The images in a folder and its subfolders, sorted by path, hidden files passed over, others told in a warning.

    Raises:
      DatasetError: if there are none, one is no regular file, or a link leads nowhere or in a circle.
    """
    files = files_below(Path(folder))
    images = sorted(path for path in files if path.lower().endswith(SUFFIXES))
    for path in images:
        check_regular(Path(path))
    if not images:
        raise DatasetError(
            f"{folder} must contain images ({', '.join(SUFFIXES)}), found none: add images or remove the folder."
        )
    if others := sorted(set(files) - set(images)):
        names = [os.path.relpath(path, folder) for path in others]
        _LOG.warning("%s: ignoring %d files that are not %s: %s.", folder, len(others), _KINDS, _first(names))
    return images


def files_below(folder: Path, above: tuple[str, ...] = ()) -> list[str]:
    """The files in a folder and its subfolders, hidden ones passed over.

    Args:
      folder: that is walked.
      above: the folders that it was reached through, for links that lead in a circle.

    Raises:
      DatasetError: if a link leads nowhere or in a circle.
    """
    real = os.path.realpath(folder)
    if real in above:
        raise DatasetError(f"{folder} is a link to a folder that contains it: remove the link.")
    if len(above) > MOST_FOLDERS:
        raise DatasetError(f"folders must be nested at most {MOST_FOLDERS} deep, received {folder}: move its files up.")
    files: list[str] = []
    for entry in _visible(folder):
        files += files_below(entry, (*above, real)) if entry.is_dir() else [str(entry)]
    return files


def _visible(folder: Path) -> list[Path]:
    entries = sorted(entry for entry in folder.iterdir() if not is_hidden(entry.name))
    if lost := [entry for entry in entries if entry.is_symlink() and not entry.exists()]:
        raise DatasetError(f"{lost[0]} is a link to a missing file: remove the link, or restore the file.")
    return entries


def check_regular(path: Path) -> None:
    """Raises DatasetError for a pipe, a socket or a device: reading one may never end."""
    kind = path.stat().st_mode
    if not stat.S_ISREG(kind):
        found = next((name for is_kind, name in _SPECIAL if is_kind(kind)), "something else")
        raise DatasetError(f"{path} must be a regular file, found {found}: remove it.")


def is_hidden(name: str) -> bool:
    """Whether people do not see a file or folder of that name: a dot in front, or left there by a system."""
    return name.startswith(".") or name.lower() in _SYSTEM_NAMES


def _first(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")

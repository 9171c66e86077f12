"""Omniglot's drawings as they are on disk: folders, or the original zip files, which are read in place."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from cml_tf.datasets.base import DatasetError, digest
from cml_tf.datasets.image_paths import SUFFIXES, check_regular, files_below
from cml_tf.datasets.storage.archives import DAMAGE

# An original drawing has a few hundred bytes. A member that claims more than this is not one.
_LARGEST_DRAWING = 1 << 20
# All of the published ones have some ten megabytes.
_MOST_BYTES = 1 << 30
_LAYOUT = "alphabet/character/drawing.png"


@dataclass(frozen=True, order=True)
class Drawing:
    """One file: its class ("Greek/character01"), where it is, and two numbers that change when its content does."""

    character: str
    place: str
    stamp: tuple[int, int]


@dataclass(frozen=True)
class DrawingSet:
    """The drawings of one folder or zip file, sorted by class; `read` gives the bytes of some of them."""

    path: Path
    drawings: tuple[Drawing, ...]
    read: Callable[[tuple[Drawing, ...]], list[bytes]]

    @property
    def fingerprint(self) -> str:
        """SHA-256 over names and stamps; cheap, since no drawing is read."""
        return digest([[drawing.character, drawing.place, *drawing.stamp] for drawing in self.drawings])


def open_drawings(path: Path) -> DrawingSet:
    """The drawings of a zip file or a folder.

    A folder holds alphabet/character/drawing.png; a zip file too, under one more folder at the top, as the original
    files have it. Hidden files, and files that are no pictures, are passed over.

    Raises:
      DatasetError: if the file is damaged, or there is no drawing in it, or a drawing is out of place.
    """
    drawings, read = _list_zip(path) if path.is_file() else _list_folder(path)
    if not drawings:
        raise DatasetError(f"{path} must contain {_LAYOUT}, found no such file: check the folder.")
    return DrawingSet(path, tuple(sorted(drawings)), read)


def _list_zip(path: Path) -> tuple[list[Drawing], Callable[[tuple[Drawing, ...]], list[bytes]]]:
    def read(drawings: tuple[Drawing, ...]) -> list[bytes]:
        # Members are read where they are: nothing is extracted, so no name in the file can become a path on disk.
        try:
            with zipfile.ZipFile(path) as archive:
                return [archive.read(drawing.place) for drawing in drawings]
        except DAMAGE as error:
            raise DatasetError(f"{path} is damaged ({error}): download it again.") from error

    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except DAMAGE as error:
        raise DatasetError(f"{path} is not a readable zip file ({error}): download it again.") from error
    drawings = []
    for member in members:
        parts = PurePosixPath(member.filename).parts
        # A member may have no name at all, of which even `is_dir` knows nothing.
        if not parts or member.is_dir() or parts[0] == "__MACOSX" or not _is_drawing(parts[-1]):
            continue
        if len(parts) != 4 or parts[0] == "/" or ".." in parts:
            raise DatasetError(f"{path} must contain top/{_LAYOUT}, found {member.filename!r}: download it again.")
        if member.file_size > _LARGEST_DRAWING:
            raise DatasetError(
                f"{path}: drawings must have at most {_LARGEST_DRAWING} bytes, {member.filename!r} claims "
                f"{member.file_size}: download it again."
            )
        drawings.append(Drawing(f"{parts[1]}/{parts[2]}", member.filename, (member.file_size, member.CRC)))
    if (claimed := sum(drawing.stamp[0] for drawing in drawings)) > _MOST_BYTES:
        raise DatasetError(
            f"{path} must hold drawings of at most {_MOST_BYTES} bytes together, but claims {claimed}: download it "
            "again."
        )
    return drawings, read


def _list_folder(path: Path) -> tuple[list[Drawing], Callable[[tuple[Drawing, ...]], list[bytes]]]:
    def read(drawings: tuple[Drawing, ...]) -> list[bytes]:
        try:
            return [(path / drawing.place).read_bytes() for drawing in drawings]
        except OSError as error:
            raise DatasetError(f"{error.filename} cannot be read ({error.strerror}): check the folder.") from error

    drawings = []
    for file in (Path(file) for file in files_below(path) if file.lower().endswith(SUFFIXES)):
        place = file.relative_to(path)
        if len(place.parts) != 3 or not _is_drawing(file.name):
            raise DatasetError(
                f"{path} must contain {_LAYOUT} and no other pictures, found {place}: move it elsewhere."
            )
        check_regular(file)
        status = file.stat()
        stamp = (status.st_size, status.st_mtime_ns)
        drawings.append(Drawing("/".join(place.parts[:2]), str(place), stamp))
    return drawings, read


def _is_drawing(name: str) -> bool:
    return name.lower().endswith(".png") and not name.startswith(".")

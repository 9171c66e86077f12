"""The files in a folder, a tar file or a zip file, one after the other, read where they are.

Nothing is extracted, so no name in an archive can become a path on disk.
"""

from __future__ import annotations

import hashlib
import lzma
import os
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import IO, NamedTuple

from cml_tf.datasets.base import DatasetError
from cml_tf.datasets.image_paths import MOST_FOLDERS

# An image has some hundred kilobytes. A member that claims more than this is not one.
LARGEST_IMAGE = 1 << 26
# What the readers of archives raise on damaged ones, depending on where the damage is.
DAMAGE = (
    OSError,
    EOFError,
    RuntimeError,
    UnicodeDecodeError,
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
)


class File(NamedTuple):
    """A file in a folder: its path within that, with slashes; its path; its size in bytes; when it changed, in ns."""

    place: str
    path: Path
    size: int
    changed: int


class Member(NamedTuple):
    """One file.

    Attributes:
      place: its path within the folder or archive, with slashes; of a tar that is in it after the tar's name.
      read: gives its bytes; to be called before the next member is asked for.
    """

    place: str
    read: Callable[[], bytes]


def members(path: Path, largest: int = LARGEST_IMAGE) -> Iterator[Member]:
    """All files in a folder (also of tars), or in a .tar (also compressed, also of tars), .tgz or .zip file.

    Hidden files and everything that is no regular file (devices; in an archive links too) are passed over. In a folder
    they come by name, in an archive in its own order.

    Args:
      path: of the folder or archive.
      largest: bytes that a file which is read may have.

    Raises:
      DatasetError: if there is nothing at `path`, it is damaged or may not be read, a name leads out of the archive,
        or a file that is read is too large.
    """
    if path.is_dir():
        yield from _in_folder(path, largest)
        return
    if not path.is_file():
        raise DatasetError(f"{path} does not exist: check the root.")
    listed = _in_zip if path.suffix.lower() == ".zip" else _in_tar_file
    try:
        yield from listed(path, largest)
    except DatasetError:
        raise
    except DAMAGE as error:
        raise _fault(str(path), error) from error


def files(path: Path) -> Iterator[File]:
    """The files in a folder and in those below it, by name: those of a folder before those of the folders in it.

    Hidden ones are passed over. Links are followed, to files and to folders, but for a folder within itself.

    Raises:
      DatasetError: if a folder or a link cannot be read.
    """
    try:
        yield from _files(path, "", frozenset())
    except PermissionError as error:
        raise _fault(str(error.filename or path), error) from error
    except OSError as error:
        name = error.filename or path
        raise DatasetError(f"{name} cannot be read ({error.strerror}): repair it or move it elsewhere.") from error


def digests(path: Path) -> dict[str, str]:
    """MD5 and SHA-256 of a file in hexadecimal, in one pass.

    Raises:
      DatasetError: if it may not be read, or cannot be.
    """
    sums = {"md5": hashlib.md5(usedforsecurity=False), "sha256": hashlib.sha256()}
    try:
        with path.open("rb") as file:
            while piece := file.read(1 << 22):
                for made in sums.values():
                    made.update(piece)
    except OSError as error:
        raise _fault(str(path), error) from error
    return {name: made.hexdigest() for name, made in sums.items()}


def _files(folder: Path, before: str, above: frozenset[tuple[int, int]]) -> Iterator[File]:
    status = folder.stat()
    if (status.st_dev, status.st_ino) in above:
        return
    if len(above) > MOST_FOLDERS:
        raise DatasetError(f"folders must be nested at most {MOST_FOLDERS} deep, received {folder}: move its files up.")
    above |= {(status.st_dev, status.st_ino)}
    with os.scandir(folder) as scanned:
        entries = sorted((entry for entry in scanned if not entry.name.startswith(".")), key=lambda entry: entry.name)
    for entry in entries:
        if entry.is_file():
            status = entry.stat()
            yield File(f"{before}{entry.name}", Path(entry.path), status.st_size, status.st_mtime_ns)
    for entry in entries:
        if entry.is_dir():
            yield from _files(Path(entry.path), f"{before}{entry.name}/", above)


def _in_folder(path: Path, largest: int) -> Iterator[Member]:
    for file in files(path):
        if file.place.endswith(".tar"):
            try:
                with tarfile.open(file.path, "r:") as inner:
                    yield from _in_tar(inner, f"{file.place}/", file.path, largest)
            except DAMAGE as error:
                raise _fault(str(file.path), error) from error
            continue
        yield Member(file.place, _guarded(file.path.read_bytes, str(file.path), file.size, largest))


def _in_zip(path: Path, largest: int) -> Iterator[Member]:
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            # A member may have no name at all, of which even `is_dir` knows nothing.
            if not PurePosixPath(info.filename).parts or info.is_dir() or not _wanted(info.filename, path):
                continue

            def read(info: zipfile.ZipInfo = info) -> bytes:
                return archive.read(info)

            yield Member(info.filename, _guarded(read, f"{path}: {info.filename}", info.file_size, largest))


def _in_tar_file(path: Path, largest: int) -> Iterator[Member]:
    with tarfile.open(path, "r:*") as archive:
        yield from _in_tar(archive, "", path, largest)


def _in_tar(archive: tarfile.TarFile, before: str, path: Path, largest: int) -> Iterator[Member]:
    for info in archive:
        if not info.isfile() or not _wanted(info.name, path):
            continue
        place = before + info.name
        if info.name.endswith(".tar") and not before:
            with tarfile.open(fileobj=_opened(archive, info), mode="r:") as inner:
                yield from _in_tar(inner, f"{place}/", path, largest)
            continue

        def read(info: tarfile.TarInfo = info) -> bytes:
            return _opened(archive, info).read()

        yield Member(place, _guarded(read, f"{path}: {place}", info.size, largest))


def _opened(archive: tarfile.TarFile, info: tarfile.TarInfo) -> IO[bytes]:
    file = archive.extractfile(info)
    if file is None:
        raise tarfile.TarError(f"{info.name} has no content")
    return file


def _wanted(name: str, path: Path) -> bool:
    parts = PurePosixPath(name).parts
    if name.startswith("/") or "\\" in name or ".." in parts:
        raise DatasetError(f"{path} contains {name!r}, a path outside the archive: download it again from its source.")
    return not any(part.startswith(".") or part == "__MACOSX" for part in parts)


def _guarded(read: Callable[[], bytes], name: str, size: int, largest: int) -> Callable[[], bytes]:
    def guarded() -> bytes:
        if size > largest:
            raise DatasetError(f"{name} must have at most {largest} bytes, but claims {size}: download it again.")
        try:
            content = read()
        except DAMAGE as error:
            raise _fault(name, error) from error
        if len(content) != size:
            raise DatasetError(f"{name} must have {size} bytes, received {len(content)}: download it again.")
        return content

    return guarded


def _fault(name: str, error: BaseException) -> DatasetError:
    if isinstance(error, PermissionError):
        return DatasetError(f"{name} cannot be read ({error.strerror}): change its permissions.")
    text = f"{type(error).__name__}: {' '.join(str(error).split())}"
    return DatasetError(f"{name} is damaged ({text}): download it again.")

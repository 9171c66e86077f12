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

from cml_tf.datasets.errors import DatasetError

# An image has some hundred kilobytes. A member that claims more than this is not one.
LARGEST_IMAGE = 1 << 26
# What the readers of archives raise on damaged ones, depending on where the damage is.
DAMAGE = (OSError, EOFError, RuntimeError, tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError)


class Member(NamedTuple):
    """One file.

    Attributes:
      place: its path within the folder or archive, with slashes; within a tar of tars after the inner tar's name.
      read: gives its bytes; to be called before the next member is asked for.
    """

    place: str
    read: Callable[[], bytes]


def members(path: Path, largest: int = LARGEST_IMAGE) -> Iterator[Member]:
    """All files in a folder, or in a .tar (also compressed, also of tars), .tgz or .zip file.

    Hidden files and everything that is no regular file (links, devices) are passed over. In a folder they come by name,
    in an archive in its own order.

    Args:
      path: of the folder or archive.
      largest: bytes that a file which is read may have.

    Raises:
      DatasetError: if there is nothing at `path`, it is damaged, a name leads out of the archive, or a file that is
        read is too large.
    """
    if path.is_dir():
        yield from _in_folder(path, largest)
        return
    if not path.is_file():
        raise DatasetError(f"{path} must be a folder or an archive, there is none; check the root.")
    listed = _in_zip if path.suffix.lower() == ".zip" else _in_tar_file
    try:
        yield from listed(path, largest)
    except DatasetError:
        raise
    except DAMAGE as error:
        raise DatasetError(f"{path} is damaged ({_text(error)}); download it again.") from error


def digests(path: Path) -> dict[str, str]:
    """MD5 and SHA-256 of a file in hexadecimal, in one pass."""
    sums = {"md5": hashlib.md5(usedforsecurity=False), "sha256": hashlib.sha256()}
    with path.open("rb") as file:
        while piece := file.read(1 << 22):
            for made in sums.values():
                made.update(piece)
    return {name: made.hexdigest() for name, made in sums.items()}


def _in_folder(path: Path, largest: int) -> Iterator[Member]:
    for folder, folders, files in os.walk(path):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            full = Path(folder, name)
            if name.startswith(".") or not full.is_file():
                continue
            place = full.relative_to(path).as_posix()
            yield Member(place, _guarded(full.read_bytes, f"{full}", full.stat().st_size, largest))


def _in_zip(path: Path, largest: int) -> Iterator[Member]:
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            if info.is_dir() or not _wanted(info.filename, path):
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
        raise DatasetError(f"{path} holds {name!r}, a name that leads out of it; download it again from its source.")
    return not any(part.startswith(".") or part == "__MACOSX" for part in parts)


def _guarded(read: Callable[[], bytes], name: str, size: int, largest: int) -> Callable[[], bytes]:
    def guarded() -> bytes:
        if size > largest:
            raise DatasetError(f"{name} must have at most {largest} bytes, it claims {size}; get it again.")
        try:
            content = read()
        except DAMAGE as error:
            raise DatasetError(f"{name} is damaged ({_text(error)}); get it again.") from error
        if len(content) != size:
            raise DatasetError(f"{name} must have {size} bytes, received {len(content)}; get it again.")
        return content

    return guarded


def _text(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"

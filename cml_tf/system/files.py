"""Files that are either whole or absent: written under a temporary name, synced, renamed; and locks on them.

A killed writer leaves its temporary file behind. Each is locked while somebody writes it, so that `clear_leftovers`
knows which are nobody's.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any


@contextlib.contextmanager
def atomic_file(path: Path, mode: int = 0o644) -> Iterator[IO[bytes]]:
    """A binary file that appears under `path` only when the block ends without an error.

    Args:
      path: of the file; what has this name is replaced, a symbolic link too.
      mode: its permissions.

    Raises:
      OSError: with `path` as its file, if that cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with named_faults(path):
        descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with os.fdopen(descriptor, "w+b") as file:
                fcntl.flock(descriptor, fcntl.LOCK_EX)
                yield file
                file.flush()
                os.fsync(descriptor)
                os.chmod(temporary, mode)
                os.replace(temporary, path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise


@contextlib.contextmanager
def named_faults(path: Path) -> Iterator[None]:
    """Names the file in errors of the system: a full disk names none, and a temporary name says nothing to anybody."""
    try:
        yield
    except OSError as error:
        named = "" if error.filename is None else Path(os.fsdecode(error.filename)).name
        if error.errno is None or not (error.filename is None or named.startswith(f".{path.name}.")):
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error


def leftover_names(names: str) -> str:
    """Regular expression of the temporary names of files whose names match another one."""
    return rf"\.(?:{names})\.[a-z0-9_]{{8}}"


def leftovers(folder: Path, names: str) -> list[Path]:
    """Temporary files in a folder, of writers that were killed or are at work; arguments as of `clear_leftovers`."""
    pattern = re.compile(leftover_names(names))
    return [
        path
        for path in sorted(folder.iterdir())
        if pattern.fullmatch(path.name) and path.is_file() and not path.is_symlink()
    ]


def clear_leftovers(folder: Path, names: str) -> list[Path]:
    """Removes temporary files of writers that were killed: those that no living process has locked.

    Call it where nobody else begins to write (under the lock of the folder, or of the file).

    Args:
      folder: that is looked at, without the folders in it.
      names: regular expression of the files' names; those of other files are left alone.

    Returns:
      What was removed.
    """
    removed = []
    for path in leftovers(folder, names):
        with path.open("rb") as file, contextlib.suppress(BlockingIOError):
            fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()
            removed.append(path)
    return removed


def keep_another(path: Path, other: Path) -> None:
    """Gives a file a second name, under which it stays when the first one is replaced; `other` is replaced."""
    other.unlink(missing_ok=True)
    try:
        os.link(path, other)
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EMLINK, errno.ENOSYS):
            raise
        # A file system without a second name for one file.
        with atomic_file(other) as file, path.open("rb") as source:
            shutil.copyfileobj(source, file)


def write_bytes(path: Path, content: bytes) -> None:
    """Writes a file atomically."""
    with atomic_file(path) as file:
        file.write(content)


def write_text(path: Path, text: str) -> None:
    """Writes a text file atomically, in UTF-8."""
    write_bytes(path, text.encode())


def write_json(path: Path, value: Any) -> None:
    """Writes a JSON file atomically, keys sorted."""
    write_text(path, json_text(value))


def json_text(value: Any) -> str:
    """What `write_json` writes."""
    return json.dumps(value, indent=2, sort_keys=True) + "\n"


class Held(BlockingIOError):
    """Another process has the lock. Its own kind: a process that cannot be started is a BlockingIOError too."""


@contextlib.contextmanager
def locked(path: Path, wait: bool = False) -> Iterator[None]:
    """Keeps other processes that ask for it from a directory, or from a file, until the block or the process ends.

    Args:
      path: of the directory, or of a file, which need not exist: an empty one beside it is held, and stays there.
      wait: until another process that has it lets it go.

    Raises:
      Held: if another process has it, and this one does not wait.
    """
    if path.is_dir():
        descriptor = os.open(path, os.O_RDONLY)
    else:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = _lock_file(path.with_name(f".{path.name}.lock"))
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError as error:
            raise Held(error.errno, error.strerror, str(path)) from error
        yield
    finally:
        os.close(descriptor)


def _lock_file(path: Path) -> int:
    try:
        return os.open(path, os.O_WRONLY | os.O_CREAT, 0o644)
    except PermissionError:
        if not path.is_file():
            raise
        # It is another user's, and stays there: whoever may read it can hold it.
        return os.open(path, os.O_RDONLY)


def parsed_json(text: str | bytes) -> Any:
    """What JSON from a stranger holds.

    Raises:
      ValueError: if it is none, or nested more deeply than Python reads.
    """
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("its brackets are too deeply nested") from error

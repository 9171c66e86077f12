"""Files of published datasets, fetched once into the cache and checked before anything reads them."""

from __future__ import annotations

import hashlib
import io
import logging
import os
import socket
import sys
from pathlib import Path
from typing import Any
from urllib.request import getproxies

import pooch
import requests

from cml_tf.datasets.base import DatasetError
from cml_tf.datasets.storage.cache import scratch_directory
from cml_tf.system.files import locked

Checksum = tuple[str, str]
"""A kind and the sum in hexadecimal: "sha256", "md5", or "git_blob" (SHA-1 over the file's length and itself)."""
# Seconds to connect, and between two pieces.
_TIMEOUT = (10, 60)
_LARGEST_FILE = 1 << 28
_PIECE = 1 << 16
_LOG = logging.getLogger(__name__)


def download(url: str, checksum: Checksum, path: Path, largest: int = _LARGEST_FILE) -> Path:
    """Puts a published file under `path`, unless it is there already, and returns `path`.

    When another process is about it already, this one waits.

    Args:
      url: where it is.
      checksum: that was published.
      path: in the cache.
      largest: bytes that may arrive.

    Raises:
      DatasetError: if the file cannot be had, or is another one than expected; nothing is written then.
    """
    try:
        if _is_there(path, checksum):
            return path
        with locked(path, wait=True):
            if not _is_there(path, checksum):
                # What a process that was killed has left is taken away by the next one.
                with scratch_directory(f"download-{path.parent.name}-{path.name}") as scratch:
                    os.replace(_arrived(url, checksum, scratch / path.name, largest), path)
    except requests.RequestException as error:
        cause = f"{type(error).__name__}: {' '.join(str(error).split())}"
        raise DatasetError(
            f"{url} cannot be downloaded: go online, or set dataset.root to a folder that holds {path.name}. ({cause})"
        ) from error
    except OSError as error:
        raise DatasetError(
            f"{path} cannot be written ({error.strerror}): set CML_TF_CACHE to a writable folder."
        ) from error
    return path


def file_checksum(path: Path, kind: str) -> str:
    """The sum of a file's content in hexadecimal, of a kind that `Checksum` names."""
    if kind != "git_blob":
        return pooch.file_hash(str(path), alg=kind)
    content = path.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def check_online(host: str) -> None:
    """Fails within seconds where a downloader would retry for minutes; behind a proxy only that can tell.

    Raises:
      OSError: if the host cannot be reached.
    """
    if not getproxies():
        socket.create_connection((host, 443), timeout=10).close()


def _is_there(path: Path, checksum: Checksum) -> bool:
    if not path.is_file():
        return False
    kind, expected = checksum
    if file_checksum(path, kind) == expected:
        return True
    _LOG.warning("Downloading %s again, since it no longer has the published checksum.", path)
    return False


def _arrived(url: str, checksum: Checksum, path: Path, largest: int) -> Path:
    """Downloads into an empty folder; a checksum that the library does not know is compared here."""
    kind, expected = checksum

    def fetch(address: str, file: str, _: Any) -> None:
        with _LimitedFile(file, largest) as limited:
            # Not readable by its owner alone, as temporary files are: a cache may be shared.
            os.fchmod(limited.fileno(), 0o644)
            pooch.HTTPDownloader(sys.stderr.isatty(), _PIECE, timeout=_TIMEOUT)(address, limited, None)

    known = None if kind == "git_blob" else f"{kind}:{expected}"
    try:
        pooch.retrieve(url, known, path.name, path.parent, downloader=fetch)
        if known is None and (found := file_checksum(path, kind)) != expected:
            raise ValueError(f"the {kind} of the received file is {found}")
    except requests.RequestException:
        raise
    except ValueError as error:
        raise DatasetError(
            f"{url} must have the published {kind} {expected}, received another file: try again later, or set "
            f"dataset.root to a folder that holds {path.name}. ({' '.join(str(error).split())})"
        ) from error
    return path


class _LimitedFile(io.FileIO):
    """A new file that takes so many bytes and no more."""

    def __init__(self, path: str, largest: int) -> None:
        super().__init__(path, "wb")
        self._left = largest

    def write(self, piece: Any) -> int:
        """Raises RequestException when more than that arrive."""
        self._left -= len(piece)
        if self._left < 0:
            raise requests.RequestException("received more bytes than the file has")
        return super().write(piece)

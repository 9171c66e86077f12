"""Files of published datasets, fetched once and checked before anything reads them.

Archives that anybody may download, fetched into the cache by TensorFlow Datasets' download manager.
"""

from __future__ import annotations

import hashlib
import logging
import os
import socket
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies

import requests

from cml_tf.datasets.base import DatasetError
from cml_tf.datasets.benchmarks.archives import Archive
from cml_tf.datasets.storage.cache import cache_directory, scratch_directory
from cml_tf.system.files import locked, write_bytes

# Seconds to connect, and between two pieces.
_TIMEOUT = (10, 60)
_LARGEST_FILE = 1 << 28
_PIECE = 1 << 16
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Remote:
    """A file to download and what pins its content; one of the two is enough.

    Attributes:
      url: where it is.
      sha256: SHA-256 of the content in hexadecimal, empty if nobody has published it.
      git_blob: the identifier that git gives to the content (SHA-1 over its length and itself), empty if unknown.
    """

    url: str
    sha256: str = ""
    git_blob: str = ""

    def __post_init__(self) -> None:
        if not self.sha256 and not self.git_blob:
            raise ValueError(f"{self.url} needs a sha256 or a git_blob to check the download with, received neither.")

    def is_content(self, content: bytes) -> bool:
        """Whether `content` is that of the file."""
        if self.sha256 and hashlib.sha256(content).hexdigest() != self.sha256:
            return False
        header = f"blob {len(content)}\0".encode()
        return not self.git_blob or _git_blob(header + content) == self.git_blob


def download(remote: Remote, path: Path) -> Path:
    """Puts a file under `path`, unless it is there already, and returns `path`.

    The SHA-256 of what was fetched is logged.

    Raises:
      DatasetError: if the file cannot be had, or is another one than expected; nothing is written then.
    """
    if path.is_file() and remote.is_content(path.read_bytes()):
        return path
    remedy = f"go online, or set dataset.root to a folder that holds {path.name}"
    try:
        content = _fetch(remote.url)
    except requests.RequestException as error:
        raise DatasetError(f"{remote.url} cannot be downloaded; {remedy}. ({type(error).__name__}: {error})") from error
    found = hashlib.sha256(content).hexdigest()
    if not remote.is_content(content):
        expected = f"SHA-256 {remote.sha256}" if remote.sha256 else f"git blob {remote.git_blob}"
        raise DatasetError(
            f"{remote.url} must have {expected}, received {len(content)} bytes with SHA-256 {found}; try again later, "
            f"or set dataset.root to a folder that holds {path.name}."
        )
    try:
        write_bytes(path, content)
    except OSError as error:
        raise DatasetError(
            f"{path} cannot be written ({error.strerror}); set CML_TF_CACHE to a folder that can."
        ) from error
    _LOG.info("downloaded %s: %d bytes, SHA-256 %s", remote.url, len(content), found)
    return path


def check_online(host: str) -> None:
    """Fails within seconds where a downloader would retry for minutes; behind a proxy only that can tell.

    Raises:
      OSError: if the host cannot be reached.
    """
    if not getproxies():
        socket.create_connection((host, 443), timeout=10).close()


def sha256(path: Path) -> str:
    """SHA-256 of a file's content in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _git_blob(content: bytes) -> str:
    return hashlib.sha1(content, usedforsecurity=False).hexdigest()


def _fetch(url: str) -> bytes:
    content = bytearray()
    with requests.get(url, stream=True, timeout=_TIMEOUT) as response:
        response.raise_for_status()
        for piece in response.iter_content(_PIECE):
            content += piece
            if len(content) > _LARGEST_FILE:
                raise requests.RequestException(f"more than {_LARGEST_FILE} bytes arrived")
    return bytes(content)


def downloaded(archive: Archive) -> Path:
    """The folder of the cache that holds the archive, which is downloaded if it is not there as it was published.

    When another process is about it already, this one waits.

    Raises:
      DatasetError: if it cannot be had, or what arrives has another checksum; it is not kept then.
    """
    folder = cache_directory() / "downloads"
    try:
        with locked(folder / f"{archive.name}.download", wait=True):
            if not _is_there(archive, folder / archive.name):
                _download(archive, folder / archive.name)
    except DatasetError:
        raise
    except ImportError as error:
        raise DatasetError(f"TensorFlow Datasets is not completely installed: pip install {error.name}.") from error
    except Exception as error:  # Whatever the downloading libraries raise, the remedy is the same.
        cause = f"{type(error).__name__}: {' '.join(str(error).split())}"
        raise DatasetError(f"{archive.url} cannot be downloaded into {folder} ({cause}).") from error
    return folder


def _is_there(archive: Archive, path: Path) -> bool:
    if not path.is_file():
        return False
    try:
        archive.check(path)
    except DatasetError as error:
        _LOG.warning("%s It is downloaded anew.", error)
        return False
    return True


def _download(archive: Archive, path: Path) -> None:
    check_online(str(urlsplit(archive.url).hostname))
    import tensorflow_datasets as tfds  # Takes seconds to import, and only this path needs it.

    _LOG.info("downloading %s (%s) from %s", archive.name, archive.size, archive.url)
    with scratch_directory(f"download-{archive.name}") as scratch:
        # Sizes are published for people only, which is not enough for its own check; it adds that where it has one.
        arrived = Path(tfds.download.DownloadManager(download_dir=str(scratch)).download(archive.url))
        archive.check(arrived)
        os.replace(arrived, path)

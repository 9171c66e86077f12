"""Archives that anybody may download, fetched into the cache by TensorFlow Datasets' download manager."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from urllib.parse import urlsplit

from cml_tf.datasets.cache import cache_directory, scratch_directory
from cml_tf.datasets.download import check_online
from cml_tf.datasets.errors import DatasetError
from cml_tf.datasets.published_archives import Archive
from cml_tf.files import locked

_LOG = logging.getLogger(__name__)


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

"""Arrays that are slow to make, kept on disk between runs."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from cml_tf.datasets.base import digest
from cml_tf.system.files import atomic_file

ENVIRONMENT_VARIABLE = "CML_TF_CACHE"
# What NumPy and zipfile raise on damaged files, depending on where the damage is.
_DAMAGE = (OSError, ValueError, EOFError, RuntimeError, MemoryError, OverflowError, zipfile.BadZipFile, zlib.error)
_LOG = logging.getLogger(__name__)


def cache_directory() -> Path:
    """The folder named by the environment variable CML_TF_CACHE (`~` is the home folder), else `~/.cache/cml_tf`."""
    return Path(os.environ.get(ENVIRONMENT_VARIABLE, "") or "~/.cache/cml_tf").expanduser()


@contextlib.contextmanager
def scratch_directory(name: str) -> Iterator[Path]:
    """An empty folder below the cache's, removed when the block ends.

    Whoever uses a name holds a lock meanwhile: what a process that was killed left under that name is removed too.
    """
    own = f".{name}."
    directory = cache_directory()
    directory.mkdir(parents=True, exist_ok=True)
    for left_behind in directory.glob(f"{own}*/"):
        shutil.rmtree(left_behind, ignore_errors=True)
    made = Path(tempfile.mkdtemp(prefix=own, dir=directory))
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


def cached_arrays(
    name: str, key: Mapping[str, Any], build: Callable[[], dict[str, np.ndarray]]
) -> dict[str, np.ndarray]:
    """Returns what `build` returns, from the disk where it was kept before.

    Args:
      name: beginning of the file's name.
      key: everything that the arrays depend on, as JSON values: another key is another file.
      build: makes the arrays (numbers or strings, no objects).

    Returns:
      Arrays by name. A file that cannot be read is made anew; a folder that cannot be written to costs only the time to
      make the arrays again. Both are logged as warnings.
    """
    path = cache_directory() / f"{name}-{digest(dict(key))[:20]}.npz"
    if path.exists():
        try:
            return _read(path)
        except _DAMAGE as error:
            _LOG.warning("Rebuilding the cached file %s, which cannot be read (%s).", path, error)
    arrays = build()
    try:
        _write(path, arrays)
    except OSError as error:
        _LOG.warning("The cache %s cannot be written (%s), so the next run will rebuild the data.", path, error)
    return arrays


def _read(path: Path) -> dict[str, np.ndarray]:
    # Reading a member to its end checks its CRC, so damaged bytes do not pass for data.
    with np.load(path, allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}


def _write(path: Path, arrays: dict[str, np.ndarray]) -> None:
    members: Any = arrays
    with atomic_file(path) as file:
        np.savez(file, **members)

"""Reading .npz files that strangers may have made: arrays of plain values or an error, and nothing is unpickled."""

from __future__ import annotations

import struct
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from export.client.errors import ClientError

# What zipfile and NumPy were seen to raise for damaged files, encrypted and exotic ones included.
_DAMAGED = (
    EOFError,
    KeyError,
    NotImplementedError,
    OSError,
    RuntimeError,
    SyntaxError,
    ValueError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
)


def read_arrays(path: Path, names: Sequence[str], expected: str) -> dict[str, np.ndarray]:
    """Those of the named arrays that the file holds.

    Args:
      path: of the file.
      names: of the arrays that are looked for.
      expected: what the file must be, for the error.

    Raises:
      ClientError: if it is no .npz, is damaged, or one of these arrays holds objects.
    """
    try:
        # NumPy itself would take anything that is no zip file for a pickle, and recommend to load it.
        if not zipfile.is_zipfile(path):
            with path.open("rb"):
                raise ClientError(f"{path} must be {expected}; it is no .npz file, or only a part of one.")
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in names if name in file}
    except _DAMAGED as error:
        raise ClientError(f"{path} must be {expected}: {error}") from error

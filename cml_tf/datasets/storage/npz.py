"""NumPy's files of arrays from strangers: never unpickled, and never more of them than memory can be expected to hold.

Needs no TensorFlow, as clients do not.
"""

from __future__ import annotations

import struct
import tokenize
import zipfile
import zlib
from pathlib import Path

import numpy as np

from cml_tf.errors import DatasetError

MOST_BYTES = 1 << 32
"""A file of some megabytes can unpack to gigabytes."""
DAMAGE = (
    # A member that is no array comes as bytes.
    AttributeError,
    EOFError,
    KeyError,
    MemoryError,
    OSError,
    OverflowError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
    struct.error,
    tokenize.TokenError,
    zipfile.BadZipFile,
    zlib.error,
)
"""What zipfile and NumPy were seen to raise for damaged files, encrypted and exotic ones included."""


def open_npz(path: Path, most: int = MOST_BYTES) -> np.lib.npyio.NpzFile:
    """The members of an .npz file, to be closed by the caller.

    Raises:
      DatasetError: if they claim more than `most` bytes together.
      ValueError: if it is not there, or no zip file.
      Exception: of `DAMAGE`, if it is damaged; so does reading a member.
    """
    if not path.exists():
        raise ValueError("it does not exist; check the path")
    if not zipfile.is_zipfile(path):
        # NumPy itself would take it for an array or a pickle.
        raise ValueError("it is not a complete .npz file")
    with zipfile.ZipFile(path) as archive:
        claimed = sum(member.file_size for member in archive.infolist())
    if claimed > most:
        raise DatasetError(
            f"{path} must unpack to at most {most:,} bytes, but claims {claimed:,}: make it smaller, or check where it "
            "comes from."
        )
    return np.load(path, allow_pickle=False)

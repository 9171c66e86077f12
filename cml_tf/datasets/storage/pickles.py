"""Arrays out of pickle files of the year 2016, without what else a pickle can do.

A pickle is a program: it may name any function of any module and call it. Here it can name what the Planetoid files
need, and nothing else.
"""

from __future__ import annotations

import builtins
import collections
import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse

from cml_tf.datasets.base import DatasetError

# NumPy has moved this function twice; every array knows where it is.
_RECONSTRUCT = np.empty(0).__reduce__()[0]
ADMITTED: dict[tuple[str, str], Any] = {
    ("numpy.core.multiarray", "_reconstruct"): _RECONSTRUCT,
    ("numpy._core.multiarray", "_reconstruct"): _RECONSTRUCT,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("scipy.sparse.csr", "csr_matrix"): scipy.sparse.csr_matrix,
    ("scipy.sparse._csr", "csr_matrix"): scipy.sparse.csr_matrix,
    ("collections", "defaultdict"): collections.defaultdict,
    ("__builtin__", "list"): builtins.list,
    ("builtins", "list"): builtins.list,
    # How Python 3 writes bytes where Python 2 is to read them.
    ("_codecs", "encode"): lambda text, encoding: text.encode({"latin1": "latin1"}[encoding]),
}
# What damaged bytes make the unpickler, NumPy and SciPy raise, depending on where the damage is.
DAMAGE = (
    pickle.UnpicklingError,
    ArithmeticError,
    AttributeError,
    EOFError,
    ImportError,
    LookupError,
    MemoryError,
    SystemError,
    TypeError,
    ValueError,
)


class _Restricted(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in ADMITTED:
            raise DatasetError(
                f"it names {f'{module}.{name}'!r}, which such files do not need and which was not called"
            )
        return ADMITTED[module, name]


def load_pickle(path: Path) -> Any:
    """What a pickle of NumPy arrays, SciPy CSR matrices, lists and dictionaries holds; strings are read as Latin-1.

    The objects are as the file describes them: their sizes and types are the caller's to check.

    Raises:
      DatasetError: if the file cannot be read, is damaged, or names anything else.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DatasetError(f"{path} cannot be read ({error.strerror}): check the folder.") from error
    return load_pickle_content(content, str(path))


def load_pickle_content(content: bytes, name: str) -> Any:
    """The same of bytes that were read already; `name` says in errors where."""
    try:
        return _Restricted(io.BytesIO(content), encoding="latin1").load()
    except DatasetError as error:
        raise DatasetError(f"{name} is refused: {error}. Download the file from its source again.") from error
    except DAMAGE as error:
        # The text may quote the damaged bytes, line ends among them.
        raise DatasetError(f"{name} is damaged ({type(error).__name__}: {str(error)!r}): download it again.") from error

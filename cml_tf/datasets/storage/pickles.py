"""Arrays out of pickle files of the year 2016, without what else a pickle can do.

A pickle is a program: it may name any function of any module and call it. Here it can name what the Planetoid files
need, and nothing else; what it names are stand-ins of ours, which take down what the file says. Arrays are made of that
when it is known to be sound, so neither NumPy nor SciPy ever sees a state that a stranger has written, and what a file
can make is in proportion to its size.
"""

from __future__ import annotations

import collections
import io
import pickle
import pickletools
import re
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse

from cml_tf.datasets.base import DatasetError

# What takes down an object under a number that is written out, and what fetches it.
_PUTS, _GETS = ("PUT", "BINPUT", "LONG_BINPUT"), ("GET", "BINGET", "LONG_BINGET")
# Things in a tuple, those in tuples in it included: ours have some dozens.
_MOST_IN_A_TUPLE = 10_000
_PLAIN = re.compile(r"[<>|=]?[fiub][1248]")
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


class _Type:
    """A dtype of plain numbers."""

    def __init__(self, name: str, *_: Any) -> None:
        if not isinstance(name, str) or not _PLAIN.fullmatch(name):
            raise ValueError(f"an array must hold plain numbers, found dtype {str(name)[:40]!r}")
        self.dtype = np.dtype(name)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        if state[1] not in ("<", ">", "|", "=") or any(part is not None for part in state[2:5]):
            raise ValueError("an array must hold plain numbers, found fields")
        self.dtype = self.dtype.newbyteorder(state[1])


class _Array:
    """An array, of which only the state counts: version, shape, dtype, whether in Fortran's order, bytes."""

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, kind, fortran, content = state
        # Python 2 has one kind of text and bytes.
        content = content.encode("latin1") if isinstance(content, str) else content
        if not isinstance(kind, _Type) or not isinstance(content, bytes):
            raise ValueError("an array must hold plain numbers")
        flat = np.frombuffer(content, kind.dtype)
        self.array = flat.reshape(shape, order="F" if fortran else "C")


class _Matrix:
    """A CSR matrix, whose attributes are taken down."""


class _Named:
    """A name that is only handed to a function."""


def _array(kind: Any, shape: Any, _: Any) -> _Array:
    if not issubclass(kind, _Named) or shape != (0,):
        raise ValueError("an array must begin empty")
    return _Array()


def _list() -> list[Any]:
    return []


def _lists(make: Any = None) -> collections.defaultdict[Any, Any]:
    del make
    return collections.defaultdict(list)


def _own(stand_in: Any) -> Any:
    """A copy for one file, which may set attributes of what it names."""
    if isinstance(stand_in, type):
        return type(stand_in.__name__, (stand_in,), {})
    return lambda *arguments: stand_in(*arguments)


ADMITTED: dict[tuple[str, str], Any] = {
    ("numpy.core.multiarray", "_reconstruct"): _array,
    ("numpy._core.multiarray", "_reconstruct"): _array,
    ("numpy", "ndarray"): _Named,
    ("numpy", "dtype"): _Type,
    ("scipy.sparse.csr", "csr_matrix"): _Matrix,
    ("scipy.sparse._csr", "csr_matrix"): _Matrix,
    ("collections", "defaultdict"): _lists,
    ("__builtin__", "list"): _list,
    ("builtins", "list"): _list,
}
# How Python 3 writes bytes where Python 2 is to read them.
_ENCODE = ("_codecs", "encode")


class _Restricted(pickle.Unpickler):
    def __init__(self, content: bytes) -> None:
        super().__init__(io.BytesIO(content), encoding="latin1")
        self._left = len(content)
        self._admitted = {name: _own(stand_in) for name, stand_in in ADMITTED.items()} | {_ENCODE: self._encode}

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self._admitted:
            raise DatasetError(
                f"it names {f'{module}.{name}'!r}, which such files do not need and which was not called"
            )
        return self._admitted[module, name]

    def _encode(self, text: str, encoding: str) -> bytes:
        # Asked for again and again, one text would fill the memory.
        self._left -= len(text)
        if encoding != "latin1" or self._left < 0:
            raise ValueError("bytes must be kept as Latin-1, once")
        return text.encode("latin1")


def load_pickle(path: Path) -> Any:
    """What a pickle of NumPy arrays, SciPy CSR matrices, lists and dictionaries holds; strings are read as Latin-1.

    Sizes and dtypes are as the file describes them, and the caller's to check. An array is found where it is all that
    the file holds, or a value of its dictionary.

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
        _check_operations(content)
        return _made(_Restricted(content).load())
    except DatasetError as error:
        raise DatasetError(f"{name} is refused: {error}. Download the file from its source again.") from error
    except DAMAGE as error:
        # The text may quote the damaged bytes, line ends among them.
        raise DatasetError(
            f"{name} is damaged ({type(error).__name__}: {str(error)[:200]!r}): download it again."
        ) from error


def _check_operations(content: bytes) -> None:
    """Refuses what would take memory or time out of proportion, before any of it is done.

    That is what takes down objects under huge numbers, for which the unpickler would make as long a table, and tuples
    that hold others many times over: as keys they are hashed with all that is in them.
    """
    # Of each thing on the stack, how many are in it. Only tuples matter: no list is hashed, and of objects none is.
    stack: list[int | None] = []
    taken_down: dict[int, int | None] = {}
    for number, (operation, argument, _) in enumerate(pickletools.genops(content)):
        name = operation.name
        if name in _PUTS and int(argument or 0) > number:
            raise ValueError(f"it numbers its objects out of order, received {argument}")
        if name in _PUTS or name == "MEMOIZE":
            taken_down[len(taken_down) if name == "MEMOIZE" else int(argument or 0)] = stack[-1]
        elif name in _GETS or name == "DUP":
            stack.append(stack[-1] if name == "DUP" else taken_down[int(argument or 0)])
        else:
            inside = sum(size or 0 for size in _taken(stack, operation.stack_before))
            if inside > _MOST_IN_A_TUPLE and "TUPLE" in name:
                raise ValueError(f"a tuple holds {inside} things")
            made = 1 + inside if "TUPLE" in name else 1
            stack += [None if kind is pickletools.markobject else made for kind in operation.stack_after]


def _taken(stack: list[int | None], kinds: list[pickletools.StackObject]) -> list[int | None]:
    """What an operation takes from the stack; None is a mark, to which some take all."""
    taken = []
    if pickletools.markobject in kinds:
        while (top := stack.pop()) is not None:
            taken.append(top)
        kinds = kinds[: kinds.index(pickletools.markobject)]
    return taken + [stack.pop() for _ in kinds]


def _matrix(state: dict[str, Any]) -> scipy.sparse.csr_matrix:
    try:
        parts = tuple(_array_of(state[name]) for name in ("data", "indices", "indptr"))
        matrix = scipy.sparse.csr_matrix(parts, shape=tuple(int(size) for size in state["_shape"]))
        # Indices that point outside of the matrix would be followed without a check.
        matrix.check_format(full_check=True)
    except DAMAGE as error:
        raise ValueError(f"no CSR matrix: {error}") from error
    return matrix


def _array_of(part: Any) -> np.ndarray:
    # Any stand-in may have an attribute `array`, with lists in it that share others: few bytes, many numbers.
    if not isinstance(part, _Array):
        raise TypeError(f"expected an array, found {type(part).__name__}")
    return part.array


def _made(value: Any) -> Any:
    if isinstance(value, _Array):
        return value.array
    if isinstance(value, _Matrix):
        return _matrix(vars(value))
    if isinstance(value, dict):
        return {key: part.array if isinstance(part, _Array) else part for key, part in value.items()}
    return value

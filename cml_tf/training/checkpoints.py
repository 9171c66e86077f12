"""Checkpoints: one file each, whole or absent; arrays by name plus one JSON object. Nothing in them is executed.

A checkpoint is a NumPy archive read without pickles. Its last bytes, the comment of the zip archive, are a seal: the
version of the format and the SHA-256 of all bytes before it, so that no damage goes unseen. Checkpoints of before have
none; there the checksums of zip reveal what damages an array. The names and shapes of arrays must match the variables
they are put into.
"""

from __future__ import annotations

import functools
import hashlib
import io
import json
import logging
import re
import struct
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from cml_tf.errors import UserError
from cml_tf.system.files import atomic_file

METADATA = "metadata.json"
# Raise when what a checkpoint holds changes its meaning.
FORMAT = 2
_SEAL = re.compile(rb"cml_tf checkpoint ([0-9]{4}) sha256 ([0-9a-f]{64})")
_SEAL_LENGTH = 94
# The end of a zip archive without a comment, whose length is the last number.
_END_OF_ZIP, _END_LENGTH = b"PK\x05\x06", 22
# What NumPy and zipfile raise on damaged files, depending on where the damage is.
_DAMAGE = (
    *(OSError, ValueError, KeyError, EOFError, RuntimeError, MemoryError, struct.error),
    *(zipfile.BadZipFile, zlib.error),
)


class CheckpointError(UserError):
    """A checkpoint is missing, damaged, or belongs to another model."""


def named_values(groups: Mapping[str, Sequence[keras.Variable]]) -> dict[str, np.ndarray]:
    """The variables' values by `group/position`; half-precision values are widened, which loses nothing."""
    values = {}
    for group, variables in groups.items():
        for position, variable in enumerate(variables):
            value = np.asarray(keras.ops.convert_to_numpy(variable))
            values[f"{group}/{position:04d}"] = value if value.dtype.isbuiltin == 1 else value.astype(np.float32)
    return values


def assign_values(groups: Mapping[str, Sequence[keras.Variable]], values: Mapping[str, np.ndarray]) -> None:
    """Puts values into variables, after checking that every one fits.

    Raises:
      CheckpointError: if a variable has no value, a value has no variable, shapes differ, or values are no numbers.
        Nothing is assigned then.
    """
    variables = {
        f"{group}/{position:04d}": variable
        for group, members in groups.items()
        for position, variable in enumerate(members)
    }
    if set(variables) != set(values):
        missing, surplus = sorted(set(variables) - set(values)), sorted(set(values) - set(variables))
        raise CheckpointError(
            f"the checkpoint belongs to another model: it lacks {missing[:3] or 'no variable'} and has "
            f"{surplus[:3] or 'no variable'} that this model does not have."
        )
    for name, variable in variables.items():
        if tuple(variable.shape) != values[name].shape:
            raise CheckpointError(
                f"the checkpoint belongs to another model: {name} ({variable.path}) must have shape "
                f"{tuple(variable.shape)}, received {values[name].shape}."
            )
        if values[name].dtype.kind not in "fiub":
            raise CheckpointError(
                f"the checkpoint belongs to another model: {name} ({variable.path}) must be numbers, received dtype "
                f"{values[name].dtype}."
            )
    for name, variable in variables.items():
        variable.assign(values[name])


def write_checkpoint(path: Path, values: Mapping[str, np.ndarray], metadata: Mapping[str, Any]) -> None:
    """Writes arrays and metadata (JSON) to one file, sealed, atomically."""
    encoded = np.frombuffer(json.dumps(metadata, sort_keys=True).encode(), np.uint8)
    arrays: dict[str, Any] = {METADATA: encoded, **values}
    with atomic_file(path) as file:
        np.savez(file, **arrays)
        file.seek(-2, io.SEEK_END)
        file.write(struct.pack("<H", _SEAL_LENGTH))
        file.seek(0)
        content = hashlib.file_digest(file, "sha256")  # type: ignore[arg-type] # it reads too
        file.write(f"cml_tf checkpoint {FORMAT:04d} sha256 {content.hexdigest()}".encode())


def read_checkpoint(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Reads arrays and metadata.

    Raises:
      CheckpointError: if the file is missing or damaged.
    """
    try:
        content = path.read_bytes()
        sealed = _is_sealed(content)
        _check_size(content)
        if not sealed:
            _check_sums(content)
            _warn_of_unsealed(path)
        with np.load(io.BytesIO(content), allow_pickle=False) as archive:
            values = {name: archive[name] for name in archive.files}
        if not all(isinstance(value, np.ndarray) for value in values.values()):
            raise ValueError("it contains something other than arrays")
        metadata = json.loads(values.pop(METADATA).tobytes().decode())
        if not isinstance(metadata, dict):
            raise ValueError(f"its metadata must be a JSON object, received {type(metadata).__name__}")
    except CheckpointError:
        raise
    except FileNotFoundError as error:
        raise CheckpointError(f"the checkpoint {path} does not exist.") from error
    except PermissionError as error:
        raise CheckpointError(f"the checkpoint {path} cannot be read: {error.strerror}.") from error
    except _DAMAGE as error:
        raise CheckpointError(
            f"the checkpoint {path} is damaged or not a checkpoint ({error}): remove it or restore it from a copy."
        ) from error
    return values, metadata


def _is_sealed(content: bytes) -> bool:
    """Whether there is a seal.

    Raises:
      ValueError: if it is broken.
      CheckpointError: if it is a later version's.
    """
    ends_as_before = content[-_END_LENGTH:].startswith(_END_OF_ZIP) and content.endswith(b"\0\0")
    if ends_as_before or not zipfile.is_zipfile(io.BytesIO(content)):
        return False
    seal = _SEAL.fullmatch(content[-_SEAL_LENGTH:])
    if seal is None or hashlib.sha256(content[:-_SEAL_LENGTH]).hexdigest().encode() != seal[2]:
        raise ValueError("its SHA-256 is not the one it was written with")
    if int(seal[1]) > FORMAT:
        raise CheckpointError(f"a checkpoint has format {int(seal[1])}, which a later version wrote: use that version.")
    return True


def _check_size(content: bytes) -> None:
    """No checkpoint is compressed, so none takes more memory than its file, as a bomb would."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        if sum(member.file_size for member in archive.infolist()) > len(content):
            raise ValueError("it holds more than its length")


def _check_sums(content: bytes) -> None:
    """NumPy stops reading where an array ends by its header; damage to the header would pass unseen."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        damaged = archive.testzip()
    if damaged is not None:
        raise ValueError(f"the checksum of {damaged} is wrong")


@functools.cache
def _warn_of_unsealed(path: Path) -> None:
    logging.getLogger(__name__).warning(
        "%s is from before checkpoints had a SHA-256: damage may go unseen. Training on writes one.", path
    )

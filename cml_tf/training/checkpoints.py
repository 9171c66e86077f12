"""Checkpoints: one file each, whole or absent; arrays by name plus one JSON object. Nothing in them is executed.

A checkpoint is a NumPy archive read without pickles. Its zip checksums reveal damage, and the names and shapes of its
arrays must match the variables they are put into.
"""

from __future__ import annotations

import json
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
# What NumPy and zipfile raise on damaged files, depending on where the damage is.
_DAMAGE = (OSError, ValueError, KeyError, EOFError, RuntimeError, struct.error, zipfile.BadZipFile, zlib.error)


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
      CheckpointError: if a variable has no value, a value has no variable, or shapes differ. Nothing is assigned then.
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
    for name, variable in variables.items():
        variable.assign(values[name])


def write_checkpoint(path: Path, values: Mapping[str, np.ndarray], metadata: Mapping[str, Any]) -> None:
    """Writes arrays and metadata (JSON) to one file, atomically."""
    encoded = np.frombuffer(json.dumps(metadata, sort_keys=True).encode(), np.uint8)
    arrays: dict[str, Any] = {METADATA: encoded, **values}
    with atomic_file(path) as file:
        np.savez(file, **arrays)


def read_checkpoint(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Reads arrays and metadata.

    Raises:
      CheckpointError: if the file is missing or damaged.
    """
    try:
        _check_sums(path)
        with np.load(path, allow_pickle=False) as archive:
            values = {name: archive[name] for name in archive.files}
        if not all(isinstance(value, np.ndarray) for value in values.values()):
            raise ValueError("it contains something other than arrays")
        metadata = json.loads(values.pop(METADATA).tobytes().decode())
        if not isinstance(metadata, dict):
            raise ValueError(f"its metadata must be a JSON object, received {type(metadata).__name__}")
    except FileNotFoundError as error:
        raise CheckpointError(f"the checkpoint {path} does not exist.") from error
    except PermissionError as error:
        raise CheckpointError(f"the checkpoint {path} cannot be read: {error.strerror}.") from error
    except _DAMAGE as error:
        raise CheckpointError(
            f"the checkpoint {path} is damaged or not a checkpoint ({error}): remove it or restore it from a copy."
        ) from error
    return values, metadata


def _check_sums(path: Path) -> None:
    """NumPy stops reading where an array ends by its header; damage to the header would pass unseen."""
    with zipfile.ZipFile(path) as archive:
        damaged = archive.testzip()
    if damaged is not None:
        raise ValueError(f"the checksum of {damaged} is wrong")

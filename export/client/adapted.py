"""A task that a server has adapted to: a few numbers that any number of queries can be asked with, also tomorrow."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cml_tf.boundary.labels import ClassNameError, class_name
from cml_tf.system.files import atomic_file
from export.client.errors import ClientError
from export.client.inputs import read_arrays
from export.client.trace import Trace

# Raise when a key changes its meaning. Clients of before compact states refuse the second.
_FORMAT, _COMPACT = 1, 2
_KINDS = {
    "format": "i",
    "model": "U",
    "version": "i",
    "class_names": "U",
    "classification": "b",
    "adapted_state": "fu",
    "model_fingerprint": "i",
}
_SCALES = "compact_scales"


@dataclass(frozen=True, eq=False)
class Adapted:
    """What `adapt` of the server gave for one task.

    Example:
      >>> with FewShotClient(address, "letters") as client:
      ...     adapted = client.adapt(images, names)
      >>> adapted.save("task.npz")
      >>> Adapted.load("task.npz").class_names
      ('alpha', 'beta', 'gamma')

    Attributes:
      model: its name.
      version: that adapted, and that must answer.
      class_names: of labels 0, 1, ...; None for a regression.
      state: the adapted state, float32 `[state]`; of a model with compact states uint8 `[bytes]`.
      fingerprint: of the variables of that version.
      loss_before: support loss before the first inner step.
      loss_after: support loss after the last one.
      scales: of compact states in int8, float32 `[tensors]`; None for others.
      trace: what each inner step did, where steps or a rate were asked for; None otherwise, and in files.
    """

    model: str
    version: int
    class_names: tuple[str, ...] | None
    state: np.ndarray
    fingerprint: int
    loss_before: float = float("nan")
    loss_after: float = float("nan")
    scales: np.ndarray | None = None
    trace: Trace | None = None

    def __post_init__(self) -> None:
        """Brings the names to their one spelling; raises ClientError if two are the same then, or one is no name."""
        if self.class_names is None:
            return
        try:
            names = tuple(map(class_name, self.class_names))
        except ClassNameError as error:
            raise ClientError(str(error)) from error
        if len(set(names)) < len(names):
            raise ClientError(f"class names must not contain duplicates, received {', '.join(names)[:200]}.")
        object.__setattr__(self, "class_names", names)

    @property
    def compact(self) -> bool:
        """Whether the state is what `predict_compact` takes."""
        return self.state.dtype == np.uint8

    def inputs(self, grows: bool) -> dict[str, np.ndarray]:
        """What the server is asked with, besides queries; `grows` says whether states differ in length."""
        fingerprint = {"model_fingerprint": np.array([self.fingerprint], np.int32)}
        if self.compact:
            scales = {} if self.scales is None else {_SCALES: self.scales[None]}
            return {"compact_state_bytes": np.array([self.state.tobytes()], object), **scales, **fingerprint}
        length = {"adapted_length": np.array([len(self.state)], np.int32)} if grows else {}
        return {"adapted_state": self.state[None], **length, **fingerprint}

    def save(self, path: str | Path) -> None:
        """Writes an .npz file, which appears whole or not at all."""
        scales: dict[str, Any] = {} if self.scales is None else {_SCALES: self.scales}
        with atomic_file(Path(path)) as file:
            np.savez(
                file,
                **scales,
                format=_COMPACT if self.compact else _FORMAT,
                model=self.model,
                version=self.version,
                class_names=np.array(self.class_names or (), str),
                classification=self.class_names is not None,
                adapted_state=self.state,
                model_fingerprint=self.fingerprint,
            )

    @classmethod
    def load(cls, path: str | Path) -> Adapted:
        """Reads what `save` wrote.

        Raises:
          ClientError: if the file is none, is damaged, or holds something else.
        """
        arrays = read_arrays(Path(path), (*_KINDS, _SCALES), "a file that export.client.adapt wrote")
        missing = [name for name in _KINDS if name not in arrays]
        if missing:
            raise ClientError(f"{path} must be a file that export.client.adapt wrote, but lacks {', '.join(missing)}.")
        wrong = [name for name, kinds in _KINDS.items() if arrays[name].dtype.kind not in kinds]
        flat = all(arrays[name].ndim == (name in ("class_names", "adapted_state", _SCALES)) for name in arrays)
        compact = arrays["adapted_state"].dtype == np.uint8
        scaled = _SCALES in arrays and not (compact and arrays[_SCALES].dtype == np.float32)
        if wrong or scaled or not flat or arrays["format"] != (_COMPACT if compact else _FORMAT):
            raise ClientError(f"{path} must have the format {_FORMAT} or {_COMPACT} of this client: adapt again.")
        names = tuple(map(str, arrays["class_names"])) if arrays["classification"] else None
        sound = int(arrays["version"]) >= 0 and abs(int(arrays["model_fingerprint"])) < 2**31
        if not sound or (names is not None and len(names) < 2):
            raise ClientError(f"{path} contains values that this client never writes: adapt again.")
        try:
            return cls(
                str(arrays["model"]),
                int(arrays["version"]),
                names,
                arrays["adapted_state"] if compact else arrays["adapted_state"].astype(np.float32, copy=False),
                int(arrays["model_fingerprint"]),
                scales=arrays.get(_SCALES),
            )
        except ClientError as error:
            raise ClientError(f"{path}: {error}") from error

"""Adapts and predicts with a file of `python -m export.device`. Copy this file: it imports nothing of this project.

    from ai_edge_litert.interpreter import Interpreter

    model = DeviceModel("letters.tflite", Interpreter)
    task = model.adapt(pictures, ["ka", "ka", "na", "na"])
    task.predict(more_pictures)

An interpreter is that of the package ai-edge-litert, or TensorFlow's `tf.lite.Interpreter`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

FORMAT = 1


class DeviceError(ValueError):
    """A file or an example that does not fit."""


class Task(NamedTuple):
    """A model that has seen its examples.

    Attributes:
      model: that was adapted.
      names: of the classes, in the order of the probabilities; none for a regression.
      state: what the examples made of the model: as good in another process, if the file is the same.
    """

    model: DeviceModel
    names: tuple[str, ...]
    state: np.ndarray

    def predict(self, examples: Any) -> np.ndarray:
        """Probabilities `[examples, names]` of the classes that were shown (regression: predictions).

        Args:
          examples: as many as the file says, in its range of values.
        """
        model = self.model
        given = model.checked(examples, "queries", "query_inputs")
        (answer,) = model.run("predict", adapted_state=self.state, query_inputs=given).values()
        if not self.names:
            return answer
        # Classes that were not shown get no share.
        shown = answer[:, : len(self.names)]
        total = shown.sum(1, keepdims=True)
        # Float32 can leave nothing to those that were; then nothing is known of them.
        return np.where(total > 0, shown / np.where(total > 0, total, 1), 1 / len(self.names)).astype(np.float32)


class DeviceModel:
    """A LiteRT file and what the JSON file beside it says.

    Args:
      path: of the file that ends in `.tflite`.
      interpreter: class of an interpreter, called with the content.

    Raises:
      DeviceError: if the two files do not belong together, or the model must be asked in one go.
    """

    def __init__(self, path: str | Path, interpreter: Any) -> None:
        content, facts = Path(path).read_bytes(), json.loads(Path(path).with_suffix(".json").read_text())
        if facts["format"] != FORMAT:
            raise DeviceError(f"format must be {FORMAT}, received {facts['format']}: use the example of that version.")
        if hashlib.sha256(content).hexdigest() != facts["sha256"]:
            raise DeviceError(f"{path} must be the file that its JSON file describes: copy both of one export.")
        if "adapt" not in facts["signatures"]:
            found = ", ".join(sorted(facts["signatures"]))
            raise DeviceError(f"{path} must have a signature adapt, found {found}: run that one with the interpreter.")
        self.facts = facts
        self._interpreter = interpreter(model_content=content)
        self._runners = {name: self._interpreter.get_signature_runner(name) for name in facts["signatures"]}

    def adapt(self, examples: Any, targets: Sequence[Any]) -> Task:
        """Learns a task.

        Args:
          examples: `[support, ...]` as many as the file says, in its range of values.
          targets: the name of each one's class (regression: `[support, outputs]`).

        Raises:
          DeviceError: if they are too many or too few, not finite, out of range, or of too many classes.
        """
        given = self.checked(examples, "support", "support_inputs")
        if len(targets) != len(given):
            raise DeviceError(f"there must be one target for each example, received {len(targets)} for {len(given)}.")
        if self.facts["problem"]["kind"] == "regression":
            return Task(self, (), self._state(given, support_targets=np.asarray(targets, np.float32)))
        names, ways = tuple(dict.fromkeys(targets)), self.facts["problem"]["outputs"]
        if not 1 < len(names) <= ways:
            raise DeviceError(f"there must be 2 to {ways} classes, received {len(names)}.")
        labels = np.array([names.index(name) for name in targets], np.int32)
        return Task(self, names, self._state(given, support_labels=labels))

    def _state(self, given: np.ndarray, **targets: np.ndarray) -> np.ndarray:
        return self.run("adapt", support_inputs=given, **targets)["adapted_state"]

    def run(self, signature: str, **inputs: np.ndarray) -> dict[str, np.ndarray]:
        """The outputs of a signature by name."""
        return self._runners[signature](**inputs)

    def checked(self, examples: Any, of: str, name: str) -> np.ndarray:
        """Examples as the file takes them; `of` is the fact that says how many."""
        given, (lowest, highest) = np.asarray(examples, np.float32), self.facts["inputs"]["value_range"]
        wanted = (self.facts[of], *self.facts["inputs"]["shape"])
        if given.shape != wanted:
            raise DeviceError(f"{name} must be {list(wanted)}, received {list(given.shape)}.")
        # The graph asks nothing: whatever is wrong with a value would come out as an answer.
        if not (np.isfinite(given).all() and lowest <= given.min() and given.max() <= highest):
            raise DeviceError(f"{name} must be numbers of {lowest} to {highest}, received others.")
        return given

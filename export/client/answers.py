"""What the server says about queries."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np


@dataclass(frozen=True, eq=False)
class Answer:
    """Predictions of one task.

    Attributes:
      values: class probabilities `[queries, classes]`, each row adding up to 1, or predictions `[queries, outputs]`.
      class_names: what the columns mean; None for a regression.
    """

    values: np.ndarray
    class_names: tuple[str, ...] | None

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """The most probable class of every query.

        Raises:
          TypeError: for a regression, which has no classes.
        """
        if self.class_names is None:
            raise TypeError("a regression has no classes: look at values.")
        return tuple(self.class_names[column] for column in self.values.argmax(axis=1))


def among(probabilities: np.ndarray, classes: int) -> np.ndarray:
    """Probabilities `[queries, ways]` given that the answer is one of the first `classes`, `[queries, classes]`."""
    used = probabilities[:, :classes]
    total = used.sum(axis=1, keepdims=True)
    # Float32 can leave nothing to the classes that there are; then nothing is known of them.
    return np.where(total > 0, used / np.where(total > 0, total, 1), 1 / classes).astype(np.float32)

"""What a model scored on test episodes, as a notebook shows it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from cml_tf.training.evaluator import Evaluation


@dataclass(frozen=True, repr=False)
class Score(Evaluation):
    """An evaluation that says of what it is; `cml_tf.training.evaluator.compare` takes two of the same episodes.

    Example:
      >>> import numpy as np
      >>> from cml_tf.models import Score
      >>> Score("accuracy", np.array([0.5, 0.75, 0.7]), seed=0, manifest_hash="", averages={}, task="3-way 1-shot")
      accuracy 65.0 % ± 32.9 % (95 % interval over 3 test episodes, 3-way 1-shot, seed 0)

    Attributes:
      split: whose classes the episodes are of.
      task: how large they are.
    """

    split: str = "test"
    task: str = ""

    @classmethod
    def of(cls, evaluation: Evaluation, split: str, task: str) -> Self:
        """An evaluation with what its numbers are of."""
        return cls(**vars(evaluation), split=split, task=task)

    def __str__(self) -> str:
        mean, width = self.mean, self.ci95
        share = self.metric == "accuracy"
        value = f"{100 * mean:.1f} % ± {100 * width:.1f} %" if share else f"{mean:.4g} ± {width:.2g}"
        over = f"95 % interval over {self.episodes} {self.split} episodes, {self.task}, seed {self.seed}"
        return f"{self.metric} {value} ({over})"

    __repr__ = __str__

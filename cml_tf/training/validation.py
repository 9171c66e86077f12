"""How a training is validated: on which episodes, on how many of them, and what cannot be a validation."""

from __future__ import annotations

from typing import Any, NamedTuple

from cml_tf.datasets.base import EpisodeSource, check_integer
from cml_tf.errors import UserError


class Validation(NamedTuple):
    """How to validate: the first `episodes` tasks of a source.

    Example:
      >>> waves = cml_tf.datasets.load("sinusoid")
      >>> validation = Validation(waves.episodes("validation", shots=5, queries=10, seed=0), episodes=100)
      >>> validation.source.split
      'validation'

    Attributes:
      source: of validation episodes.
      episodes: how many tasks.
      steps: inner steps; None for as many as in training.
    """

    source: EpisodeSource
    episodes: int
    steps: int | None = None


def check_validation(validation: Any) -> None:
    """Raises UserError for what is neither a `Validation` nor None, or has a source that makes no episodes."""
    if validation is None:
        return
    if not isinstance(validation, Validation):
        raise UserError(
            f"validation must be cml_tf.Validation(source, episodes), received {type(validation).__name__}."
        )
    check_integer("the episodes of a validation", validation.episodes, minimum=1)
    if validation.steps is not None:
        check_integer("the inner steps of a validation", validation.steps, minimum=0)
    if not hasattr(validation.source, "batches"):
        raise UserError(
            "the source of a validation must be the result of dataset.episodes(...), received "
            f"{type(validation.source).__name__}."
        )

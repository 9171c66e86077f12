"""What several rules ask of a problem or a learner, and a number that they learn."""

from __future__ import annotations

import numpy as np

from cml_tf.errors import UserError
from cml_tf.learners.learner import Learner
from cml_tf.problems import Problem
from cml_tf.registry import Settings


def check_classification(rule: str, problem: Problem) -> None:
    """Raises UserError for a problem without classes."""
    if not hasattr(problem, "ways"):
        raise UserError(f"{rule} needs classification, received {problem}: choose another rule.")


def check_headless(rule: str, learner: Learner) -> None:
    """Raises UserError for a learner whose head has weights, for a rule that would never train them."""
    if learner.variables.head:
        raise UserError(
            f"{rule} needs a head without weights, received a learner whose head has weights: use "
            "keras.layers.Identity() as its head."
        )


def faults_without_classes(rule: str, settings: Settings) -> list[str]:
    """What a configuration is told that chooses a rule for classes where the data have none."""
    if "dataset.ways" in settings:
        return []
    data = settings["dataset.name"]
    return [f"adaptation.rule must not be {rule!r} for {data!r}, which has no classes: choose another rule."]


def faults_of_another_head(rule: str, doing: str, settings: Settings) -> list[str]:
    """What a configuration is told whose rule does something with a linear head, and that chooses another one."""
    head = settings.get("learner.head", "linear")
    if head == "linear":
        return []
    return [f"learner.head must be 'linear' with {rule}, which {doing}, received {head!r}: leave out the key."]


def inverse_softplus(value: float) -> float:
    """The number whose softplus is a positive one: `log(e^value - 1)`, without overflow."""
    return float(value + np.log(-np.expm1(-value)))

"""Gradient descent as configurations choose it: its options, the partitions of a learner, and the variants of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from cml_tf.adaptation.class_rows import CLASS_ROWS, OWN, class_row_faults
from cml_tf.adaptation.gradient_descent import GradientDescent
from cml_tf.adaptation.updates.partition import anil, boil
from cml_tf.adaptation.updates.update_rule import UpdateRule
from cml_tf.registry import Given, Settings, option, register, setting, variant

PARTITIONS: dict[str, tuple[frozenset[str], Callable[[UpdateRule], UpdateRule]]] = {
    "all": (frozenset({"extractor", "head"}), lambda rule: rule),
    "anil": (frozenset({"head"}), anil),
    "boil": (frozenset({"extractor"}), boil),
}
"""By name: the groups of the learner that adapt, and what makes an update rule move those alone."""


@dataclass(frozen=True)
class GradientDescentOptions:
    """Options of `GradientDescent`."""

    steps: int = option(1, "inner steps in training", least=0)
    eval_steps: int = option(1, "inner steps in validation and evaluation", least=0)
    partition: str = option(
        "all", "which part adapts: all, only the head (anil) or only the body (boil)", choices=tuple(PARTITIONS)
    )
    sharpness: float = option(0.0, "radius of sharpness-aware minimisation in the inner loop; 0 for none", least=0)
    class_rows: str = option(
        OWN,
        "how the head's row of each class begins in a task: each as it was learned (own), all as one vector (shared) "
        "or at the class means (prototypes)",
        choices=CLASS_ROWS,
    )
    clip_norm: float = option(0.0, "largest global norm of an inner gradient; 0 for none", least=0)


def _adapts(settings: Settings) -> frozenset[str]:
    return PARTITIONS[settings["adaptation.partition"]][0]


@register(
    "rule",
    "gradient_descent",
    GradientDescentOptions,
    parts=("update", "hypergradient"),
    adapts=_adapts,
    steps=True,
    faults=class_row_faults,
    any_ways=lambda settings: settings["adaptation.class_rows"] != OWN,
    path=True,
)
def _gradient_descent(options: GradientDescentOptions, given: Given) -> GradientDescent:
    """Steps of an update rule on the support loss: MAML's inner loop (arXiv 1703.03400)."""
    update = PARTITIONS[options.partition][1](given.parts["update"])
    parts = given.parts["hypergradient"], options.sharpness, options.class_rows, options.clip_norm
    return GradientDescent(given.problem, update, options.steps, *parts)


FIVE_STEPS = {"adaptation.steps": 5, "adaptation.eval_steps": 5}
"""What several variants set."""

variant("anil")(setting("Only the head adapts (arXiv 1909.09157).", adaptation__partition="anil"))
variant("boil")(setting("Only the body adapts (arXiv 2008.08882).", adaptation__partition="boil"))


@variant("sharp_maml")
def _sharp_maml(settings: Settings) -> dict[str, Any]:
    """Five steps, and gradients of both loops at the worst point within 0.0005 (arXiv 2206.03996)."""
    # What the authors' code is called with for miniImageNet: five steps at 0.1, one radius for both loops.
    rate = {"adaptation.rate": 0.1} if settings.get("adaptation.rate", 1.0) > 0.1 else {}
    return {**FIVE_STEPS, **rate, "adaptation.sharpness": 0.0005, "train.sharpness": 0.0005}

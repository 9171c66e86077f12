"""The length of the gradient in the place of an inner loop (Meta-RKHS, algorithm I).

After "Meta-Learning with Neural Tangent Kernels" (Zhou et al. 2021, arXiv 2102.03909). A step of MAML at rate alpha
lowers the loss by about alpha |grad L|^2, which for squared loss is the residuals' length in the space of the learner's
tangent kernel. So the initial parameters are trained to have a low loss and a long gradient, without any step:

    norm:   L_SQ - alpha |grad L_SQ|^2              the paper's, on support S and queries Q as one batch
    cross:  L_SQ - alpha <grad L_S, grad L_Q>       the default

Ours is `cross`. On a batch the square of the gradient holds its variance too, and grows with it; that of two batches
which were drawn apart has the square of the true gradient as its mean.

Both have no lower bound where alpha is large. For squared loss |r|^2 / 2n with the kernel Theta, the norm form is
r^T (1 / 2n - alpha Theta / n^2) r: it falls for ever in some direction once alpha lambda_max(Theta) / n > 1/2. A value
below 0 shows such a direction, whichever form it is of; training warns at the first one.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from cml_tf.adaptation.gradients import dense_gradients
from cml_tf.errors import UserError
from cml_tf.learners.layer_state import check_second_derivatives
from cml_tf.learners.layers.derivative_order import inner_gradient
from cml_tf.learners.learner import Learner
from cml_tf.learners.normalisation.mode import MODES
from cml_tf.objectives.plain_descent import plain_descent_faults
from cml_tf.objectives.query_loss import QueryLoss
from cml_tf.objectives.term import ObjectiveTerm, TaskOutcome, TermLoss, Weight
from cml_tf.problems import Problem
from cml_tf.registry import Given, Settings, option, register, variant

_LOG = logging.getLogger(__name__)
FORMS = ("cross", "norm")


class TangentEnergy(ObjectiveTerm):
    """The loss at the initial parameters minus the energy of its gradient; what adaptation made is not looked at.

    It reports `tangent_loss`, the term itself, and `energy`, which alpha is multiplied by.

    Example:
      >>> sorted(TangentEnergy(cml_tf.Classification(2))(outcome, ()).metrics)
      ['energy', 'tangent_loss']

    Args:
      problem: gives the loss, which is that of all heads together where there are several.
      rate: alpha, positive: by the equations an inner rate, times the steps that are to be made later on; in practice
        much less, since the loss must stay above 0.
      form: of `FORMS`.
      name: of the term.
      weight: in the outer loss.

    Raises:
      UserError: for a rate that is not positive, or an unknown form.
    """

    reported = False

    def __init__(
        self,
        problem: Problem,
        rate: float = 1e-4,
        form: str = "cross",
        name: str = "tangent_energy",
        weight: Weight = 1.0,
    ) -> None:
        super().__init__(name, weight)
        if not 0 < rate < np.inf:
            raise UserError(f"rate must be positive, received {rate!r}: use 0.0001, for example.")
        if form not in FORMS:
            raise UserError(f"form must be one of {', '.join(FORMS)}, received {form!r}.")
        self.problem = problem
        self.rate = rate
        self.form = form
        self._warned = False

    def build(self, learner: Learner) -> None:
        """Raises UserError for a layer whose second derivative is wrong."""
        check_second_derivatives(learner.extractor, learner.head)

    def __call__(self, outcome: TaskOutcome, values: tuple[tf.Tensor, ...]) -> TermLoss:
        """The loss of one task."""
        flat = tf.nest.flatten(tuple(outcome.learner.adaptable(outcome.initial.parameters)))
        with tf.GradientTape(persistent=True, watch_accessed_variables=False) as tape, inner_gradient(True):
            tape.watch(flat)
            losses = self._losses(outcome)
            counts = [tf.cast(tf.shape(part.targets)[0], losses[0].dtype) for part in (outcome.support, outcome.query)]
            joint = tf.add_n([c * loss for c, loss in zip(counts, losses, strict=True)]) / tf.add_n(counts)
        pair = losses if self.form == "cross" else (joint, joint)
        slopes = [
            dense_gradients(tape, loss, flat, unconnected_gradients=tf.UnconnectedGradients.ZERO) for loss in pair
        ]
        products = [tf.cast(tf.reduce_sum(one * other), joint.dtype) for one, other in zip(*slopes, strict=True)]
        energy = tf.add_n(products)
        loss = joint - self.rate * energy
        return TermLoss(loss, {"tangent_loss": loss, "energy": energy})

    def _losses(self, outcome: TaskOutcome) -> tuple[tf.Tensor, tf.Tensor]:
        """The mean losses of support set and queries, the latter with the state that the former leaves."""
        learner, parameters, support, query = (
            outcome.learner,
            outcome.initial.parameters,
            outcome.support,
            outcome.query,
        )
        seen = learner.call(parameters, outcome.initial.state, support.inputs, outcome.context, True, support.targets)
        asked = learner.call(parameters, seen.state, query.inputs, outcome.context, training=False)
        return self._mean(seen.outputs, support.targets), self._mean(asked.outputs, query.targets)

    def _mean(self, outputs: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
        heads = tf.nest.flatten(outputs)
        return tf.add_n([tf.reduce_mean(self.problem.losses(head, targets)) for head in heads])

    def heed(self, metrics: Mapping[str, np.ndarray]) -> None:
        """Warns, once, of a task whose loss is below 0."""
        if self._warned or not (metrics["tangent_loss"] < 0).any():
            return
        self._warned = True
        _LOG.warning(
            "The loss of %s is %.3g for a task, below 0: the gradient's energy outweighs the loss, which has no lower "
            "bound then. Lower its rate (objective.energy_rate), received %s.",
            self.name,
            metrics["tangent_loss"].min(),
            self.rate,
        )


@dataclass(frozen=True)
class TangentEnergyOptions:
    """Options of the tangent energy."""

    energy_rate: float = option(
        1e-4, "factor of the gradient's energy in the outer loss, so small that the loss stays above 0", above=0
    )
    energy_form: str = option(
        "cross", "energy of support times query gradient, or the norm of that of both together", choices=FORMS
    )


def _faults(settings: Settings) -> list[str]:
    if faults := plain_descent_faults(
        settings,
        "tangent_energy",
        steps="prepares them",
        partition="whose gradient is that of all parameters",
        variables="loss has no gradient for them",
    ):
        return faults
    if MODES[mode := settings.get("learner.normalisation", "none")].counts_steps:
        return [
            f"learner.normalisation must not be {mode!r} with tangent_energy, which trains no step: use "
            "batch_transductive."
        ]
    return []


@register("objective", "tangent_energy", TangentEnergyOptions, slot="outer", faults=_faults)
def _tangent_energy(options: TangentEnergyOptions, given: Given) -> list[ObjectiveTerm]:
    """The loss before adaptation less the energy of its gradient, no inner loop (Meta-RKHS I, arXiv 2102.03909)."""
    term = TangentEnergy(given.problem, options.energy_rate, options.energy_form)
    return [QueryLoss(given.problem, differentiated=False), term]


@variant("tangent_energy", chooses=("tangent_energy", "first_order"))
def _no_step(settings: Settings) -> dict[str, int]:
    """No inner step in training; ten in validation, evaluation and export."""
    return {"adaptation.steps": 0, "adaptation.eval_steps": 10}

"""Gradient flow of the last layer over a learned time, in the place of inner steps (COMLN, arXiv 2203.01443).

After Deleu et al. 2022, "Continuous-Time Meta-Learning with Forward Mode Differentiation". The features do not adapt.
From the meta-learned kernel and bias, the layer follows the gradient of the mean cross-entropy L of the support set
without steps, for a time T that the outer loop learns with the rest:

    dW/dt = -dL/dW (W)    from t = 0 to T = exp(log_horizon)

`flow_solver` has the equations, and how gradients pass. Ours:

- The bias of the head flows too: it is the weight of one more feature, which is 1 for every example.
- `log_horizon` stays within -5 and 5: an optimiser that leaves the range puts it back to its end.
- The solver is classical Runge-Kutta with steps of one length, or Dormand-Prince.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf

from cml_tf.adaptation.checks import check_classification, faults_of_another_head, faults_without_classes
from cml_tf.adaptation.flow_solver import flow
from cml_tf.adaptation.head_rule import HeadRule
from cml_tf.adaptation.rule import Initial
from cml_tf.adaptation.runge_kutta import SOLVERS
from cml_tf.episodes import Examples
from cml_tf.errors import UserError
from cml_tf.learners.learner import Learner
from cml_tf.problems import Problem
from cml_tf.registry import Given, Settings, option, register

_SHORTEST, _LONGEST = 0.007, 148.0
_LOG_RANGE = 5.0


@keras.saving.register_keras_serializable("cml_tf")
class GradientFlow(HeadRule):
    """Adapts the last layer by gradient flow on the support loss; the logarithm of its horizon is meta-learned.

    Args:
      problem: a classification.
      horizon: what the time that the flow runs starts from, 0.007 to 148. A gradient step at a rate is about as far as
        the flow goes in a time of that number.
      solver: `rk4`, `dormand_prince`, whose steps are as long as a tolerance of 1e-5 allows, or `euler`, which is
        gradient descent on the head at the rate horizon / solver_steps.
      solver_steps: how many steps the solver makes, 1 or more; `dormand_prince` begins with steps of that length.

    Example:
      >>> rule = GradientFlow(cml_tf.Classification(2), horizon=0.1)
      >>> rule.build(learner)
      >>> task = rule.adapt(learner, rule.initial(learner), support, ())
      >>> task.predict(query.inputs)[1].shape
      TensorShape([6, 2])

    Raises:
      UserError: for a regression, an unknown solver, or a number out of range.
    """

    vectorisable = True

    def __init__(self, problem: Problem, horizon: float = 1.0, solver: str = "rk4", solver_steps: int = 32) -> None:
        super().__init__(problem)
        check_classification("gradient flow", problem)
        if not _SHORTEST <= horizon <= _LONGEST:
            raise UserError(
                f"horizon must be between {_SHORTEST} and {_LONGEST:g}, received {horizon!r}: begin with 1, and the "
                "outer loop learns it."
            )
        if solver not in SOLVERS:
            raise UserError(f"solver must be one of {', '.join(SOLVERS)}, received {solver!r}.")
        if not isinstance(solver_steps, int) or solver_steps < 1:
            raise UserError(f"solver_steps must be a whole number of 1 or more, received {solver_steps!r}.")
        self.horizon, self.solver, self.solver_steps = horizon, solver, solver_steps

    def build(self, learner: Learner) -> None:
        """Makes the variable of the horizon.

        Raises:
          UserError: for a head that is not one linear layer behind layers without weights.
        """
        super().build(learner)
        if not self.meta_variables:
            value = keras.Variable(math.log(self.horizon), dtype=keras.config.floatx(), name="log_horizon")
            # Not by clipping where it is read: outside of the range no gradient would lead back.
            value.constraint = _within_range
            self.meta_variables = (value,)

    def fit(
        self, rows: tf.Tensor, support: Examples, kernel: tf.Tensor, bias: tf.Tensor, initial: Initial
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """The layer at the horizon."""
        labels = self.problem.as_vectors(support.targets, rows.dtype)
        horizon = tf.cast(tf.exp(initial.meta[0]), rows.dtype)
        # 1 is the product of the features that the bias is the weight of.
        gram = 1 + tf.matmul(rows, rows, transpose_b=True)
        pulls = flow(rows @ kernel + bias, gram, labels, horizon, self.solver, self.solver_steps)
        return kernel - tf.matmul(rows, pulls, transpose_a=True), bias - tf.reduce_sum(pulls, 0)

    def get_config(self) -> dict[str, Any]:
        """The arguments."""
        own = {"horizon": self.horizon, "solver": self.solver, "solver_steps": self.solver_steps}
        return {**super().get_config(), **own}


def _within_range(value: tf.Tensor) -> tf.Tensor:
    return keras.ops.clip(value, -_LOG_RANGE, _LOG_RANGE)


@dataclass(frozen=True)
class GradientFlowOptions:
    """Options of `GradientFlow`."""

    horizon: float = option(1.0, "initial time that the head flows", least=_SHORTEST, most=_LONGEST)
    solver: str = option("rk4", "method that solves for the flow", choices=tuple(SOLVERS))
    solver_steps: int = option(32, "steps of the solver; those that dormand_prince begins with", least=1)


def _faults(settings: Settings) -> list[str]:
    return faults_without_classes("gradient_flow", settings) + faults_of_another_head(
        "gradient_flow", "adapts that layer", settings
    )


@register(
    "rule",
    "gradient_flow",
    GradientFlowOptions,
    faults=_faults,
    smoke={"solver_steps": 4},
    adapts=lambda settings: frozenset({"head"}),
)
def _gradient_flow(options: GradientFlowOptions, given: Given) -> GradientFlow:
    """Gradient flow of the head over a learned time, no inner step (COMLN, arXiv 2203.01443)."""
    return GradientFlow(given.problem, options.horizon, options.solver, options.solver_steps)

"""Adaptation that requests may set within bounds, and that tells what it did: inner steps and rate, one each a task.

`adapt_bounded` and `adapt_and_predict_bounded` take them beside what `adapt` and `serving_default` take. They are
signatures of their own, so that clients of before see what they always saw.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from cml_tf.adaptation import AdaptationRule
from cml_tf.adaptation.observed import Pace, Trace
from cml_tf.errors import UserError
from export import status
from export.errors import ExportError
from export.requests.form import Faults, Tensors

ADAPT_BOUNDED, WHOLE_BOUNDED = "adapt_bounded", "adapt_and_predict_bounded"
STEPS, RATE = "steps", "rate"
# What a request sends that wants a model's own.
OWN_STEPS, OWN_RATE = -1, -1.0


@dataclass(frozen=True)
class Bounds:
    """What requests may ask of an inner loop.

    Attributes:
      most_steps: inner steps, from 0 to so many.
      rates: lowest and highest rate, both positive; None for the model's own alone. A rate is the inner rate; where
        that is learned, or is not one number, a multiple of what was learned.
      enough: steps end once the support loss is below; None for all steps that were asked for.
    """

    most_steps: int
    rates: tuple[float, float] | None = None
    enough: float | None = None

    def __post_init__(self) -> None:
        if self.most_steps < 1:
            raise ExportError(f"most_steps must be 1 or more, received {self.most_steps}.")
        low, high = self.rates or (1.0, 1.0)
        if not 0 < low <= high < math.inf:
            raise ExportError(
                f"rates must be the lowest and the highest, both positive, received {low:g} and {high:g}."
            )
        if self.enough is not None and not math.isfinite(self.enough):
            raise ExportError(f"stop_when_loss_below must be a finite number, received {self.enough}.")

    def of(self, rule: AdaptationRule) -> Bounds:
        """These bounds with the rates of a rule, where none were given.

        Raises:
          ExportError: for a rule whose steps nobody else can set, or whose own are out of bounds.
        """
        try:
            rule.check_watched()
        except UserError as error:
            raise ExportError(str(error)) from error
        own, steps = own_rate(rule), int(rule.steps or 0)
        low, high = self.rates or (own, own)
        if steps > self.most_steps or not low <= own <= high:
            raise ExportError(
                f"most_steps and rates must allow the model's own {steps} steps and rate {own:g}, received "
                f"{self.most_steps} and {low:g} to {high:g}."
            )
        return dataclasses.replace(self, rates=(low, high))

    @property
    def limits(self) -> tuple[float, float]:
        """Lowest and highest rate, of bounds that know their rule."""
        assert self.rates is not None, "bounds must be those of a rule"
        return self.rates

    @property
    def inputs(self) -> dict[str, tf.TensorSpec]:
        """What a request may set, with task axis."""
        return {STEPS: tf.TensorSpec([None], tf.int32), RATE: tf.TensorSpec([None], tf.float32)}

    @property
    def outputs(self) -> dict[str, tf.TensorSpec]:
        """What a task is told, no task axis."""
        return {
            "support_losses": tf.TensorSpec([self.most_steps + 1], tf.float32),
            "step_norms": tf.TensorSpec([self.most_steps], tf.float32),
            "steps_taken": tf.TensorSpec([], tf.int32),
            "made_worse": tf.TensorSpec([], tf.int32),
        }

    def faults(self, inputs: Tensors) -> Faults:
        """What is wrong with what a task asks for; it may leave both to the model."""
        steps, rate = inputs[STEPS], inputs[RATE]
        low, high = (tf.constant(bound, tf.float32) for bound in self.limits)
        steps_fit = tf.equal(steps, OWN_STEPS) | ((steps >= 0) & (steps <= self.most_steps))
        # NaN fits nowhere.
        rate_fits = tf.equal(rate, OWN_RATE) | ((rate >= low) & (rate <= high))
        return {status.OUT_OF_BOUNDS: ~(steps_fit & rate_fits)}

    def pace(self, rule: AdaptationRule, steps: tf.Tensor, rate: tf.Tensor) -> Pace:
        """How far a task is adapted that asks for these, without fault."""
        own = tf.constant(own_rate(rule), tf.float32)
        # No division where there is nothing to scale: the optimiser may multiply by an inexact reciprocal.
        scale = tf.where(tf.equal(rate, own) | tf.equal(rate, OWN_RATE), 1.0, rate / own)
        steps = tf.where(tf.equal(steps, OWN_STEPS), int(rule.steps or 0), steps)
        return Pace(steps, scale, self.most_steps, self.enough)

    def told(self, trace: Trace) -> Tensors:
        """What a trace is to clients: all that `outputs` lists."""
        return {
            "support_losses": trace.losses,
            "step_norms": trace.norms,
            "steps_taken": trace.steps,
            "made_worse": tf.cast(~trace.finite | (trace.losses[-1] > trace.losses[0]), tf.int32),
        }

    def to_json(self, rule: AdaptationRule) -> Mapping[str, Any]:
        """What the model card says."""
        return {
            "most_steps": self.most_steps,
            "rates": list(self.limits),
            "own_rate": own_rate(rule),
            "rate_is": "inner rate" if rule.inner_rate else "multiple of the model's own inner rates",
            "stop_when_loss_below": self.enough,
        }


def own_rate(rule: AdaptationRule) -> float:
    """The rate that a request names to get the steps of training."""
    return rule.inner_rate or 1.0


def read_bounds(most_steps: int | None, rates: Sequence[str], enough: float | None) -> Bounds | None:
    """Bounds as flags hold them; None without any.

    Raises:
      ExportError: for rates that are no two numbers, or for rates or an end without a number of steps.
    """
    if most_steps is None:
        if rates or enough is not None:
            raise ExportError("rates and stop_when_loss_below must come with most_steps: pass --most_steps too.")
        return None
    try:
        numbers = tuple(map(float, rates))
    except ValueError as error:
        raise ExportError(f"rates must be two numbers, LOW,HIGH, received {','.join(rates)}.") from error
    if len(numbers) not in (0, 2):
        raise ExportError(f"rates must be two numbers, LOW,HIGH, received {','.join(rates)}.")
    return Bounds(most_steps, (numbers[0], numbers[1]) if numbers else None, enough)

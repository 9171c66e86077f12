"""A network that reads the support set and gives the change of the last layer (HyperMAML, arXiv 2205.15745).

After Przewięźlikowski et al. 2022, "HyperMAML: Few-Shot Adaptation of Deep Models with Hypernetworks". For support rows
phi_j of the head's layer with kernel W and bias b, and a network H with ReLUs between its linear layers:

    e_j      = [phi_j, softmax(phi_j W + b), label_j]     (`enhanced`; otherwise phi_j alone)
    e_c      = mean of e_j over the examples of class c
    [dW, db] = H(e_c), one row a class
    W', b'   = W - dW, b - db

The softmax is a constant of the outer loop. The features do not adapt, and there is no inner gradient. With a warm-up,
training begins with gradient steps instead. In each of 5 steps, for the gradient g of the mean support loss, the head
moves by

    - (p * 0.01 * g + (1 - p) * [dW, db] / 5)

and the share p falls from 1 to 0. Ours: the division by 5, so that nothing jumps when p arrives at 0; no warm-up unless
asked for; steps of the outer loop in the place of epochs; a class without an example keeps its weights; `equivariant`.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf

from cml_tf.adaptation.checks import check_classification, faults_of_another_head, faults_without_classes
from cml_tf.adaptation.head_rule import HeadRule
from cml_tf.adaptation.rule import Initial, Scheduled, Schedules
from cml_tf.episodes import Examples
from cml_tf.errors import UserError
from cml_tf.learners.learner import Learner
from cml_tf.learners.linear_head import LinearHead
from cml_tf.problems import Problem
from cml_tf.registry import Given, Settings, option, register

# Of the gradient steps while warming up.
_STEPS = 5
_RATE = 0.01
_SHARE = "gradient_share"


@keras.saving.register_keras_serializable("cml_tf")
class Hypernetwork(HeadRule):
    """Adapts the last layer by one pass of a network over the support features; the network is meta-learned.

    Args:
      problem: a classification.
      width: of the network's hidden layers, 1 or more.
      depth: how many linear layers it has, 2 or more.
      enhanced: whether it also reads what the learner makes of the examples before it adapts, and their labels.
      equivariant: whether of these it reads only the probability of an example's own class and the largest one of
        another class, so that the order of the classes is of no account. Without `enhanced` it never is.
      warm_up: outer steps with gradient steps alone, 0 or more.
      fade: outer steps after them, in which the network takes over.

    Example:
      >>> rule = Hypernetwork(cml_tf.Classification(2), width=8)
      >>> rule.build(learner)
      >>> task = rule.adapt(learner, rule.initial(learner), support, ())
      >>> task.predict(query.inputs)[1].shape
      TensorShape([6, 2])

    Raises:
      UserError: for a regression, a number out of range, or `equivariant` without `enhanced`.
    """

    vectorisable = True

    def __init__(
        self,
        problem: Problem,
        width: int = 256,
        depth: int = 3,
        enhanced: bool = True,
        equivariant: bool = False,
        warm_up: int = 0,
        fade: int = 0,
    ) -> None:
        super().__init__(problem)
        check_classification("a hypernetwork", problem)
        for name, value, least in (
            ("width", width, 1),
            ("depth", depth, 2),
            ("warm_up", warm_up, 0),
            ("fade", fade, 0),
        ):
            if not isinstance(value, int) or value < least:
                raise UserError(f"{name} must be a whole number of {least} or more, received {value!r}.")
        if equivariant and not enhanced:
            raise UserError(_needless("equivariant", "enhanced"))
        self.width, self.depth = width, depth
        self.enhanced, self.equivariant = enhanced, equivariant
        self.warm_up, self.fade = warm_up, fade

    @property
    def schedules(self) -> Schedules:  # type: ignore[override]
        """The gradients' share of a step while warming up; nothing without a warm-up."""
        if not self.warm_up + self.fade:
            return {}
        return {_SHARE: Scheduled(functools.partial(gradient_share, warm_up=self.warm_up, fade=self.fade), 0.0)}

    def build(self, learner: Learner) -> None:
        """Makes the network's kernels and biases, in turn.

        Raises:
          UserError: for a head that is not one linear layer behind layers without weights.
        """
        head = LinearHead(learner)
        if self.meta_variables:
            return
        read = head.width
        if self.enhanced:
            read += 2 if self.equivariant else head.outputs + 1
        widths = [read, *[self.width] * (self.depth - 1), head.width + 1]
        self.meta_variables = tuple(_layers(widths))

    def fit(
        self, rows: tf.Tensor, support: Examples, kernel: tf.Tensor, bias: tf.Tensor, initial: Initial
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """The layer minus what the network gives; while warming up, what the gradient steps make of it."""
        labels = self.problem.as_vectors(support.targets, rows.dtype)
        change = self._change(rows, labels, kernel, bias, initial.meta)
        share = initial.scalars.get(_SHARE)
        # After training the share is a constant, so that what is evaluated and exported has no gradient steps.
        if share is None or tf.get_static_value(share) == 0:
            return kernel - change[0], bias - change[1]
        share = tf.cast(share, rows.dtype)
        own = [(1 - share) / _STEPS * part for part in change]
        for _ in range(_STEPS):
            gradients = _gradients(rows, labels, kernel, bias)
            kernel, bias = (
                value - share * _RATE * gradient - part
                for value, gradient, part in zip((kernel, bias), gradients, own, strict=True)
            )
        return kernel, bias

    def _change(
        self, rows: tf.Tensor, labels: tf.Tensor, kernel: tf.Tensor, bias: tf.Tensor, meta: tuple[tf.Tensor, ...]
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """What is taken off the kernel `[width, outputs]` and the bias `[outputs]`."""
        counts = tf.reduce_sum(labels, 0)[:, tf.newaxis]
        read = tf.concat([rows, *self._enhancements(rows, labels, kernel, bias)], -1)
        hidden = tf.math.divide_no_nan(tf.matmul(labels, read, transpose_a=True), counts)
        if self.enhanced and not self.equivariant:
            # The mean of one label is that label.
            hidden = tf.concat([hidden, tf.range(self.problem.outputs, dtype=rows.dtype)[:, tf.newaxis]], -1)
        values = [tf.cast(value, rows.dtype) for value in meta]
        for layer, (weights, shift) in enumerate(zip(values[::2], values[1::2], strict=True), start=1):
            hidden = hidden @ weights + shift
            if layer < self.depth:
                hidden = tf.nn.relu(hidden)
        change = tf.where(counts > 0, hidden, tf.zeros_like(hidden))
        return tf.transpose(change[:, :-1]), change[:, -1]

    def _enhancements(
        self, rows: tf.Tensor, labels: tf.Tensor, kernel: tf.Tensor, bias: tf.Tensor
    ) -> tuple[tf.Tensor, ...]:
        """What is read of an example besides its features and its label."""
        if not self.enhanced:
            return ()
        chances = self._chances(rows, kernel, bias)
        if not self.equivariant:
            return (chances,)
        own = tf.reduce_sum(labels * chances, -1, keepdims=True)
        return own, tf.reduce_max((1 - labels) * chances, -1, keepdims=True)

    def _chances(self, rows: tf.Tensor, kernel: tf.Tensor, bias: tf.Tensor) -> tf.Tensor:
        """The classes' probabilities before adaptation, as constants of the outer loop."""
        return tf.stop_gradient(tf.nn.softmax(rows @ kernel + bias))

    def get_config(self) -> dict[str, Any]:
        """The arguments."""
        names = ("width", "depth", "enhanced", "equivariant", "warm_up", "fade")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}


def gradient_share(step: int, warm_up: int, fade: int) -> float:
    """What gradients count for at an outer step: 1 in the warm-up, then less and less, 0 in the end.

    Example:
      >>> gradient_share(99, warm_up=100, fade=4), gradient_share(102, 100, 4), gradient_share(104, 100, 4)
      (1.0, 0.4, 0.0)
    """
    return 1.0 if step < warm_up else max(0.0, (fade + warm_up - step) / (fade + 1))


def _gradients(rows: tf.Tensor, labels: tf.Tensor, kernel: tf.Tensor, bias: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Of the mean cross-entropy, written out: the outer loop differentiates them without a tape inside."""
    errors = (tf.nn.softmax(rows @ kernel + bias) - labels) / tf.cast(tf.shape(rows)[0], rows.dtype)
    return tf.matmul(rows, errors, transpose_a=True), tf.reduce_sum(errors, 0)


def _layers(widths: list[int]) -> Iterator[keras.Variable]:
    """Kernel and bias of each linear layer between these widths."""
    dtype, start = keras.config.floatx(), keras.initializers.GlorotUniform()
    for number, (read, given) in enumerate(zip(widths[:-1], widths[1:], strict=True)):
        yield keras.Variable(start((read, given), dtype), dtype=dtype, name=f"kernel_{number}")
        yield keras.Variable(tf.zeros([given], dtype), dtype=dtype, name=f"bias_{number}")


def _needless(equivariant: str, enhanced: str) -> str:
    return (
        f"{equivariant} must be False with {enhanced} False, received True: no labels are read then, so leave it out."
    )


@dataclass(frozen=True)
class HypernetworkOptions:
    """Options of `Hypernetwork`."""

    width: int = option(256, "width of the hypernetwork's hidden layers", least=1)
    depth: int = option(3, "number of its linear layers", least=2)
    enhanced: bool = option(True, "whether it also reads labels and the probabilities before adaptation")
    equivariant: bool = option(False, "whether it reads them so that the order of the classes is of no account")
    warm_up: int = option(0, "outer steps with gradient steps on the head alone", least=0)
    fade: int = option(0, "outer steps after them in which the hypernetwork takes over", least=0)


def _faults(settings: Settings) -> list[str]:
    faults = faults_without_classes("hypernetwork", settings)
    faults += faults_of_another_head("hypernetwork", "changes that layer", settings)
    if settings["adaptation.equivariant"] and not settings["adaptation.enhanced"]:
        faults.append(_needless("adaptation.equivariant", "adaptation.enhanced"))
    return faults


@register(
    "rule",
    "hypernetwork",
    HypernetworkOptions,
    faults=_faults,
    smoke={"width": 16, "warm_up": 1, "fade": 2},
    adapts=lambda settings: frozenset({"head"}),
    exact={"enhanced": False},
)
def _hypernetwork(options: HypernetworkOptions, given: Given) -> Hypernetwork:
    """A network gives the change of the head, no inner step (HyperMAML, arXiv 2205.15745)."""
    return Hypernetwork(given.problem, **vars(options))

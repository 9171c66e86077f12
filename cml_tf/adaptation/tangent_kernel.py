"""The flow of the linearised learner in closed form, in the place of inner steps (Meta-RKHS, algorithm II).

After "Meta-Learning with Neural Tangent Kernels" (Zhou et al. 2021, arXiv 2102.03909). The learner f is taken to be
linear in its parameters around the initial ones. Let J be its Jacobian at the support inputs X, one row for each of the
n C outputs, and J_q that at a query. Under the gradient flow of |f(X) - Y|^2 / 2 over a time t, without a step,

    f_t(q) = f(q) - J_q J^T F(H) (f(X) - Y),    H = J J^T,    F(s) = (1 - exp(-t s)) / s

(`linear_flow`). The outer gradient passes through f, J and H. The paper's time is that of the sum of squares, as here;
for the mean over the examples it is n times as long. Ours:

- A task is `moves = J^T F(H) (f(X) - Y)`, as large as the parameters and no larger with more examples. An answer is
  f(q) minus the derivative of f at q along them, so that no Jacobian of a query is ever made.
- Classes: targets are one-hot minus 1 / C, and the largest output wins. A meta-learned `scale` makes logits of outputs.
- `shared`: one kernel for all outputs, that of their sum divided by sqrt(C): n rows and columns in the place of n C.
- Targets and the learner's state are constants of the linearisation.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf

from cml_tf.adaptation.checks import inverse_softplus
from cml_tf.adaptation.gradients import dense_gradients
from cml_tf.adaptation.linear_flow import flow_weights
from cml_tf.adaptation.packing import Specification
from cml_tf.adaptation.rule import AdaptationRule, AdaptedTask, Initial
from cml_tf.episodes import Examples
from cml_tf.errors import UserError
from cml_tf.learners.layer_state import check_second_derivatives
from cml_tf.learners.layers.derivative_order import inner_gradient
from cml_tf.learners.learner import Learner, State, count_parameters
from cml_tf.learners.normalisation.mode import MODES
from cml_tf.problems import Problem, at_least_float32, problem_to_json
from cml_tf.registry import Given, Settings, option, register

# 256 MiB in float32; a training step holds a few times as much.
_MOST_NUMBERS = 2**26
_ZERO = tf.UnconnectedGradients.ZERO


@keras.saving.register_keras_serializable("cml_tf")
class TangentKernel(AdaptationRule):
    """Adapts in closed form under the learner's own tangent kernel: no inner step, all parameters at once.

    With n support examples, C outputs and P parameters the Jacobian holds n C P numbers, n P with `shared`. It takes
    as many backward passes over the support set as it has rows, made at once: each row through the whole set, since
    normalisation may let examples see each other. A query costs about three forward passes; with `shared` C times that.

    Args:
      problem: what the targets mean.
      horizon: time that the linearised learner flows, for the sum of squared errors; positive. None for no end of time:
        the support set is fitted.
      shared: whether all outputs share one kernel.
      scale: what the factor of the outputs starts from if they are classes, positive: how sure probabilities are.
      most_numbers: how many numbers a Jacobian may hold, so that a task that is too large for memory is refused.

    Example:
      >>> rule = TangentKernel(cml_tf.Classification(2), horizon=10.0)
      >>> rule.build(learner)
      >>> task = rule.adapt(learner, rule.initial(learner), support, ())
      >>> task.predict(query.inputs)[1].shape
      TensorShape([6, 2])

    Raises:
      UserError: for a number out of range.
    """

    second_order = True
    vectorisable = True
    answers_through_head = True

    def __init__(
        self,
        problem: Problem,
        horizon: float | None = 10.0,
        shared: bool = False,
        scale: float = 5.0,
        most_numbers: int = _MOST_NUMBERS,
    ) -> None:
        super().__init__()
        for name, value in (("horizon", horizon), ("scale", scale), ("most_numbers", most_numbers)):
            if value is not None and not 0 < value < math.inf:
                raise UserError(f"{name} must be positive, received {value!r}: choose a number above 0.")
        self.problem = problem
        self.horizon = horizon
        self.shared = shared
        self.scale = scale
        self.most_numbers = most_numbers

    def build(self, learner: Learner) -> None:
        """Makes the scale of classes.

        Raises:
          UserError: for a learner with several heads, with layers that carry state through a task, or with one whose
            second derivative is wrong.
        """
        if learner.second_head is not None:
            raise UserError("tangent_kernel adapts one head, received a learner with two: remove the second head.")
        if any(tf.nest.flatten(tuple(learner.threaded_state()))):
            raise UserError(
                "tangent_kernel needs layers that depend on parameters and inputs alone, received some with state of a "
                "task (class prototypes, normalisation support, per_step or tasknorm): use a linear head and "
                "batch_transductive."
            )
        check_second_derivatives(learner.extractor, learner.head)
        if hasattr(self.problem, "ways") and not self.meta_variables:
            self.meta_variables = (
                keras.Variable(inverse_softplus(self.scale), dtype=keras.config.floatx(), name="scale"),
            )

    def adapt(
        self, learner: Learner, initial: Initial, support: Examples, context: Any, query_inputs: Any = None
    ) -> TangentTask:
        """One forward pass, the Jacobian, and one decomposition of the kernel."""
        flat = tf.nest.flatten(tuple(initial.parameters))
        with tf.GradientTape(persistent=True, watch_accessed_variables=False) as tape, inner_gradient(True):
            tape.watch(flat)
            forward = learner.call(initial.parameters, initial.state, support.inputs, context, True, support.targets)
            outputs = at_least_float32(forward.outputs)
            measured = self._bounded(tf.reshape(_measured(outputs, self.shared), [-1]), count_parameters(flat))
        jacobian = _jacobian(tape, measured, flat)
        gram = tf.add_n([tf.matmul(part, part, transpose_b=True) for part in jacobian])
        residuals = outputs - self._targets(support, outputs.dtype)
        columns = residuals if self.shared else tf.reshape(residuals, [-1, 1])
        weights = flow_weights(gram, columns, self.horizon)
        moves = [tf.matmul(weights, part, transpose_a=True) for part in jacobian]
        shaped = [
            tf.cast(tf.reshape(move, self._shape(parameter)), parameter.dtype)
            for move, parameter in zip(moves, flat, strict=True)
        ]
        return TangentTask(learner, forward.state, context, initial, tuple(shaped), self.shared)

    def unadapted(self, learner: Learner, initial: Initial, support: Examples, context: Any) -> TangentTask:
        """The learner's own outputs: nothing has moved."""
        moves = [tf.zeros(self._shape(one), one.dtype) for one in tf.nest.flatten(tuple(initial.parameters))]
        return TangentTask(learner, initial.state, context, initial, tuple(moves), self.shared)

    def _targets(self, support: Examples, dtype: tf.DType) -> tf.Tensor:
        vectors = self.problem.as_vectors(support.targets, dtype)
        return vectors - 1 / self.problem.outputs if hasattr(self.problem, "ways") else vectors

    def _shape(self, parameter: Any) -> list[int]:
        return [*([self.problem.outputs] if self.shared else []), *parameter.shape]

    def _bounded(self, measured: tf.Tensor, parameters: int) -> tf.Tensor:
        """What is to be differentiated, if there is room for its Jacobian.

        Raises:
          UserError: if there is not; tf.errors.InvalidArgumentError where only the run of a graph knows.
        """
        most, rows = self.most_numbers // parameters, measured.shape[0]
        told = (
            f"the Jacobian of a task must hold at most {self.most_numbers} numbers, support examples x outputs x "
            f"{parameters} parameters: pass fewer support examples, or use a smaller learner, shared or a larger "
            "most_numbers"
        )
        if rows is None:
            with tf.control_dependencies([tf.debugging.assert_less_equal(tf.size(measured), most, message=told)]):
                return tf.identity(measured)
        if rows > most:
            head, _, remedy = told.partition(":")
            raise UserError(f"{head}, received {rows} x {parameters}:{remedy}.")
        return measured

    def state_spec(self, learner: Learner) -> Specification:
        """How far each parameter has moved; with `shared` for each output."""
        variables = tf.nest.flatten(tuple(learner.variables))
        names = learner.variable_names
        return tuple(tf.TensorSpec(self._shape(one), one.dtype, f"moves/{names[id(one)]}") for one in variables)

    def restore(
        self, learner: Learner, initial: Initial, tensors: Sequence[tf.Tensor], state: State, context: Any
    ) -> TangentTask:
        """The task of these moves."""
        return TangentTask(learner, state, context, initial, tuple(tensors), self.shared)

    def get_config(self) -> dict[str, Any]:
        """The arguments."""
        names = ("horizon", "shared", "scale", "most_numbers")
        return {"problem": problem_to_json(self.problem), **{name: getattr(self, name) for name in names}}


class TangentTask(AdaptedTask):
    """The linearised learner, moved.

    Args:
      learner: that is linearised.
      state: its state after the support set.
      context: of the episode.
      initial: the parameters that it is linearised at, and the rule's scale.
      moves: how far each parameter went, against the slopes; with `shared` `[outputs, ...]`.
      shared: of `TangentKernel`.
    """

    def __init__(
        self,
        learner: Learner,
        state: State,
        context: Any,
        initial: Initial,
        moves: tuple[tf.Tensor, ...],
        shared: bool,
    ) -> None:
        super().__init__(learner, state, context)
        self.start = initial
        self.moves = moves
        self.shared = shared

    def predict(self, inputs: Any) -> tuple[Any, Any]:
        """Features before adaptation, and outputs after it."""
        flat = tf.nest.flatten(tuple(self.start.parameters))
        # The derivative of outputs along the moves is that of <slopes, moves> in what the outputs count for in the
        # slopes: two backward passes, of which the second goes through the first.
        with tf.GradientTape(persistent=True, watch_accessed_variables=False) as through, inner_gradient(True):
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch(flat)
                forward = self.learner.call(self.start.parameters, self.state, inputs, self.context, training=False)
                outputs = at_least_float32(forward.outputs)
                measured = _measured(outputs, self.shared)
            counts = tf.zeros_like(measured)
            through.watch(counts)
            slopes = dense_gradients(tape, measured, flat, output_gradients=counts, unconnected_gradients=_ZERO)
            along = tf.add_n([self._along(slope, move) for slope, move in zip(slopes, self.moves, strict=True)])
        changes = tf.transpose(through.jacobian(along, counts)) if self.shared else through.gradient(along, counts)
        return forward.features, self._scaled(outputs - tf.cast(changes, outputs.dtype))

    def _along(self, slope: tf.Tensor, move: tf.Tensor) -> tf.Tensor:
        """Their product, a scalar; with `shared` one for each output."""
        axes = list(range(int(self.shared), move.shape.rank))
        return tf.reduce_sum(slope * move, axes)

    def _scaled(self, outputs: tf.Tensor) -> tf.Tensor:
        return outputs * tf.cast(tf.nn.softplus(self.start.meta[0]), outputs.dtype) if self.start.meta else outputs

    def tensors(self) -> tuple[tf.Tensor, ...]:
        """The moves."""
        return self.moves


def _measured(outputs: tf.Tensor, shared: bool) -> tf.Tensor:
    """What the kernel is that of: the outputs, or their normalised sum for each example."""
    return tf.reduce_sum(outputs, -1) / outputs.shape[-1] ** 0.5 if shared else outputs


def _jacobian(tape: tf.GradientTape, measured: tf.Tensor, flat: Sequence[tf.Tensor]) -> list[tf.Tensor]:
    """Of numbers `[rows]`, by the parameters: `[rows, size]` of each."""

    def row(counts: tf.Tensor) -> list[tf.Tensor]:
        return dense_gradients(tape, measured, flat, output_gradients=counts, unconnected_gradients=_ZERO)

    counts = tf.eye(tf.shape(measured)[0], dtype=measured.dtype)
    parts = tf.vectorized_map(row, counts, fallback_to_while_loop=True)
    sizes = [math.prod(parameter.shape) for parameter in flat]
    return [tf.cast(tf.reshape(part, [-1, size]), measured.dtype) for part, size in zip(parts, sizes, strict=True)]


@dataclass(frozen=True)
class TangentKernelOptions:
    """Options of `TangentKernel`."""

    horizon: float = option(10.0, "time that the linearised learner flows, for the sum of squared errors", above=0)
    endless: bool = option(False, "whether it flows without end, so that the support set is fitted; no horizon then")
    shared: bool = option(False, "whether all outputs share one kernel, which is as many times smaller")
    scale: float = option(5.0, "initial factor of the outputs, of classes", above=0)
    most_numbers: int = option(
        _MOST_NUMBERS, "numbers that a Jacobian may hold: support examples x outputs x parameters", least=1
    )


def _faults(settings: Settings) -> list[str]:
    faults = []
    if (head := settings.get("learner.head", "linear")) != "linear":
        faults.append(
            "learner.head must be 'linear' with tangent_kernel, which takes no state of a task for its derivatives, "
            f"received {head!r}: leave out the key."
        )
    if MODES[mode := settings.get("learner.normalisation", "none")].threads_state:
        stateless = ", ".join(name for name, one in MODES.items() if not one.threads_state)
        faults.append(
            f"learner.normalisation must be one of {stateless} with tangent_kernel, which takes no state of a task for "
            f"its derivatives, received {mode!r}: leave out the key."
        )
    return faults


@register("rule", "tangent_kernel", TangentKernelOptions, faults=_faults, answers_features=False)
def _tangent_kernel(options: TangentKernelOptions, given: Given) -> TangentKernel:
    """The flow of the linearised learner in closed form, no inner step (Meta-RKHS II, arXiv 2102.03909)."""
    horizon = None if options.endless else options.horizon
    return TangentKernel(given.problem, horizon, options.shared, options.scale, options.most_numbers)

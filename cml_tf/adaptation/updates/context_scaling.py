"""Context scaling: an update rule whose convolution kernels get, task by task, lengths that a context vector says.

After CxGrad: equations from the authors' published program, the paper itself was not at hand. A learner with kernels
w_1..w_L of convolutions starts each task with the context c = 0. A meta-learned generator of two layers makes lengths

    lengths(c) = softplus(V relu(U c + u) + v),    scaled(w_l, c) = lengths(c)_l * w_l / |w_l|

with the norm of the whole kernel. One step comes before those that are counted, and moves the context alone:

    c <- -context_rate * stop(dL/dc)    at scaled(w, 0)

and every counted step takes, at once, the gradients of the support loss L where scaling put the kernels:

    w <- scaled(w, c) - rate * dL/dw,    head <- head - rate * dL/dhead,    c <- c - context_rate * dL/dc

Everything else in the extractor (scales and shifts of normalisation, biases) is left to the outer loop. What predicts
are the kernels after the last step, not scaled again.

A normalisation after the convolution takes the length of its kernel out. So scaling leaves the learner's function as it
is and multiplies the gradient of a kernel by `|w| / length`: lengths are learned rates of the layers. For the same
reason that gradient is at right angles to the kernel, and none reaches the length: the context learns of the task by no
more than the normalisation's epsilon lets through (docs/systems/cxgrad.md).

Ours: `|w|` is `sqrt(sum w^2 + 1e-24)`, which has a gradient at 0; learners that scaling would change are refused;
a head with convolutions moves whole, as in MAML; `exact_context` lifts the stop above.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from cml_tf.adaptation.updates.rates import RateOptions, check_rate
from cml_tf.adaptation.updates.update_rule import Gradients, RuleState, UpdateRule
from cml_tf.errors import UserError
from cml_tf.learners.learner import Learner, Parameters, context_arguments, functional_call
from cml_tf.learners.normalisation.mode import MODES
from cml_tf.registry import Given, Settings, member, members, option, register, setting, variant

_TINY = 1e-24
_REMEDY = "choose another update rule, such as SGD (adaptation.update 'sgd')"


@keras.saving.register_keras_serializable("cml_tf")
class ContextScaling(UpdateRule):
    """Gradient descent on convolution kernels whose lengths follow the task, and on the head.

    Example:
      >>> rule = GradientDescent(cml_tf.Classification(5), ContextScaling(0.01), steps=5)
      >>> rule.update_rule.leading_steps  # moves the context alone
      1

    Args:
      rate: of kernels and head, positive.
      context_rate: of the context vector, positive.
      context_size: how many numbers it has, at least 1.
      exact_context: whether the outer gradient also passes through the gradient of the first step, which is a constant
        to it otherwise.

    Raises:
      UserError: for a rate that is not positive, or a size below 1.
    """

    at_seen = True
    leading_steps = 1

    def __init__(
        self, rate: float, context_rate: float = 1.0, context_size: int = 100, exact_context: bool = False
    ) -> None:
        super().__init__()
        if context_size < 1:
            raise UserError(f"context_size must be at least 1, received {context_size}.")
        self.rate = check_rate(rate)
        self.context_rate = check_rate(context_rate)
        self.context_size = context_size
        self.exact_context = exact_context
        self._kernels: tuple[int, ...] = ()

    def check(self, learner: Learner) -> None:
        """Looks for convolutions, and whether scaling leaves the learner's function as it is.

        Raises:
          UserError: for an extractor without convolutions, one of whose kernels are not followed by a normalisation, or
            layers that would count the step of the context.
        """
        kernels = _kernels(learner.variables.extractor)
        if not kernels:
            raise UserError(
                f"context scaling needs convolutions in the extractor, received {learner.extractor.name!r} without: "
                f"{_REMEDY}."
            )
        if any(tf.nest.flatten(tuple(learner.threaded_state()))) and not learner.state_follows_parameters:
            raise UserError(
                "context scaling makes one more step than is counted, received a learner that counts them: use another "
                "mode of Normalisation than 'per_step'."
            )
        if wrong := _first_without_normalisation(learner, kernels):
            raise UserError(
                f"context scaling needs a normalisation after every convolution, received {wrong!r} without: add "
                f"cml_tf.learners.Normalisation after it, or {_REMEDY}."
            )

    def build(self, parameters: Parameters) -> None:
        """Makes the generator's variables: U, u, V, v.

        Raises:
          UserError: if the convolutions are not among the parameters that the rule is to move.
        """
        if self.meta_variables:
            return
        self._kernels = _kernels(parameters.extractor)
        if not self._kernels:
            raise UserError(
                f"context scaling needs convolutions that adapt, received the head alone: leave out anil, or {_REMEDY}."
            )
        size, count, dtype = self.context_size, len(self._kernels), parameters.extractor[0].dtype
        limit = size**-0.5
        shapes = {"hidden_kernel": (size, size), "hidden_bias": (size,), "kernel": (size, count), "bias": (count,)}
        # Biases do not begin at 0: no gradient would ever reach a context at 0, where relu has none.
        self.meta_variables = tuple(
            keras.Variable(keras.initializers.RandomUniform(-limit, limit), shape=shape, dtype=dtype, name=name)
            for name, shape in shapes.items()
        )

    def init(self, parameters: Parameters, meta: tuple[tf.Tensor, ...]) -> RuleState:
        """The context at 0, which has not been moved yet."""
        dtype = parameters.extractor[0].dtype
        return RuleState(adapted=tf.zeros([self.context_size], dtype), carried=tf.constant(False))

    def lengths(self, kernels: Sequence[tf.Tensor], context: tf.Tensor, meta: tuple[tf.Tensor, ...]) -> tf.Tensor:
        """What each kernel's length becomes, `[kernels]`, positive."""
        hidden_kernel, hidden_bias, kernel, bias = meta
        hidden = tf.nn.relu(tf.linalg.matvec(hidden_kernel, context, transpose_a=True) + hidden_bias)
        return tf.nn.softplus(tf.linalg.matvec(kernel, hidden, transpose_a=True) + bias)

    def before_step(self, parameters: Parameters, state: RuleState, meta: tuple[tf.Tensor, ...]) -> Parameters:
        """The parameters with every kernel at its length."""
        extractor = list(parameters.extractor)
        lengths = self.lengths([extractor[position] for position in self._kernels], state.adapted, meta)
        for length, position in zip(tf.unstack(lengths), self._kernels, strict=True):
            kernel = extractor[position]
            extractor[position] = kernel * (length * tf.math.rsqrt(tf.reduce_sum(tf.square(kernel)) + _TINY))
        return parameters._replace(extractor=tuple(extractor))

    def before_prediction(self, parameters: Parameters, state: RuleState, meta: tuple[tf.Tensor, ...]) -> Parameters:
        """The parameters as the last step left them."""
        return parameters

    def update(
        self, gradients: Gradients, state: RuleState, parameters: Parameters, meta: tuple[tf.Tensor, ...]
    ) -> tuple[Parameters, RuleState]:
        """The context's first step alone, or one of everything."""
        has_moved = state.carried
        of_context = gradients.adapted
        if not self.exact_context:
            of_context = _either(has_moved, of_context, tf.stop_gradient(of_context))
        seen = self.before_step(parameters, state, meta)
        updates = Parameters(
            tuple(
                there - here - self.rate * gradient if position in self._kernels else tf.zeros_like(here)
                for position, (there, here, gradient) in enumerate(
                    zip(seen.extractor, parameters.extractor, gradients.parameters.extractor, strict=True)
                )
            ),
            tuple(-self.rate * gradient for gradient in gradients.parameters.head),
        )
        updates = tf.nest.map_structure(lambda update: _either(has_moved, update, tf.zeros_like(update)), updates)
        return updates, RuleState(state.adapted - self.context_rate * of_context, tf.constant(True))

    def get_config(self) -> dict[str, Any]:
        """The arguments that make this rule again."""
        own = ("rate", "context_rate", "context_size", "exact_context")
        return {name: getattr(self, name) for name in own}


def _either(condition: tf.Tensor, yes: tf.Tensor, no: tf.Tensor) -> tf.Tensor:
    """One of the two; where the graph knows which, the other one and its derivatives are not worked out."""
    known = tf.get_static_value(condition)
    return tf.where(condition, yes, no) if known is None else (yes if known else no)


def _kernels(variables: Sequence[keras.Variable]) -> tuple[int, ...]:
    """Where among variables the kernels of convolutions are; those of dense layers have two axes."""
    return tuple(p for p, one in enumerate(variables) if one.name.endswith("kernel") and len(one.shape) > 2)


def _first_without_normalisation(learner: Learner, kernels: Sequence[int]) -> str | None:
    """The path of the first kernel whose length the extractor's features tell.

    By trying, since layers do not say what they call: random values everywhere, so that no bias at 0 can hide it, and
    kernels that are twice as long, which changes no rounding.
    """
    random = np.random.default_rng(0)
    # Whatever graph this is called in, the numbers are wanted now.
    with tf.init_scope():
        values = [random.standard_normal(one.shape).astype(one.dtype) for one in learner.variables.extractor]
        inputs = tf.nest.map_structure(lambda leaf: _random_like(leaf, random), learner.example_inputs)
        before = _features(learner, values, inputs)

        def tell(doubled: Sequence[int]) -> bool:
            changed = [2 * value if position in doubled else value for position, value in enumerate(values)]
            difference = np.linalg.norm(_features(learner, changed, inputs) - before)
            return not difference <= 0.01 * np.linalg.norm(before)

        if not tell(kernels):
            return None
        wrong = next((position for position in kernels if tell([position])), kernels[0])
    return learner.variables.extractor[wrong].path


def _random_like(leaf: Any, random: np.random.Generator) -> Any:
    tensor = tf.convert_to_tensor(leaf)
    return tf.cast(random.standard_normal(tensor.shape), tensor.dtype) if tensor.dtype.is_floating else tensor


def _features(learner: Learner, values: Sequence[Any], inputs: Any) -> np.ndarray:
    """All features of a pass in training mode, in one row."""
    _, state = learner.initial()
    own = (*learner.variables.extractor, *learner.state_variables.extractor)
    features, _ = functional_call(
        learner.extractor,
        own,
        (*map(tf.convert_to_tensor, values), *state.extractor),
        learner.state_variables.extractor,
        inputs,
        training=True,
        **context_arguments(learner.context),
    )
    return np.concatenate([np.asarray(tf.cast(part, tf.float64)).ravel() for part in tf.nest.flatten(features)])


@dataclass(frozen=True)
class ContextScalingOptions(RateOptions):
    """Options of `ContextScaling`."""

    context_rate: float = option(1.0, "inner rate of the context vector", above=0)
    context_size: int = option(100, "how many numbers the context vector has", least=1)
    exact_context: bool = option(
        False, "pass the outer gradient through the first step too, which moves the context vector alone"
    )


def _faults(settings: Settings) -> list[str]:
    faults, told = [], "with adaptation.update 'context_scaling'"
    learner = settings["learner.name"]
    if not member("learner", learner).traits["normalised"]:
        known = ", ".join(name for name, one in members("learner").items() if one.traits["normalised"])
        faults.append(
            f"learner.name must be one with a normalisation after every convolution ({known}) {told}, received "
            f"{learner!r}."
        )
    mode = settings.get("learner.normalisation", "none")
    if MODES[mode].counts_steps:
        faults.append(
            f"learner.normalisation must not be {mode!r} {told}, which makes one more step than is counted: use "
            "'batch_transductive' or 'support'."
        )
    if member("learner", learner).traits["normalised"] and not MODES[mode].standardises:
        faults.append(
            f"learner.normalisation must be one that takes the length of a kernel out {told}, received {mode!r}: use "
            "'batch_transductive' or 'support'."
        )
    if settings.get("adaptation.partition") == "anil":
        faults.append(f"adaptation.partition must not be 'anil' {told}, which moves convolutions: use 'all' or 'boil'.")
    if settings.get("adaptation.sharpness"):
        faults.append(
            f"adaptation.sharpness must be 0 {told}, which decides where gradients are taken, received "
            f"{settings['adaptation.sharpness']!r}."
        )
    if settings.get("adaptation.steps", 0) < 1:
        faults.append(f"adaptation.steps must be at least 1 {told}, received {settings.get('adaptation.steps', 0)!r}.")
    return faults


# Tiny runs are exact: with the stop the meta-gradient is no derivative, and tests compare it with differences.
@register(
    "update",
    "context_scaling",
    ContextScalingOptions,
    faults=_faults,
    smoke={"context_size": 16, "exact_context": True},
    learned=True,
    remembers=True,
)
def _context_scaling(options: ContextScalingOptions, given: Given) -> ContextScaling:
    """Convolution kernels at lengths that a context vector of the task says (after CxGrad)."""
    return ContextScaling(**vars(options))


variant("cxgrad", chooses=("context_scaling",), only="images")(
    setting(
        "Context scaling with the published settings: five steps at 0.01 (CxGrad).",
        adaptation__rate=0.01,
        adaptation__steps=5,
        adaptation__eval_steps=5,
    )
)

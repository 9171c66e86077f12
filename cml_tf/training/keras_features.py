"""What Keras' own `fit` does beyond forward pass, gradient and update: honoured here, or refused by name.

docs/KERAS.md lists every feature with what becomes of it. Refused is what has no clear meaning with two loops (a
regulariser: of the inner loss, or of the outer one?), or would be dropped without a word. All checks are made before
the first step.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import keras
import tensorflow as tf

from cml_tf.errors import UserError
from cml_tf.learners.learner import Learner, context_arguments
from cml_tf.objectives.term import ObjectiveTerm

Optimizers: TypeAlias = keras.optimizers.Optimizer | str | Mapping[str, keras.optimizers.Optimizer | str]


def optimizers_by_group(optimizer: Optimizers, groups: Sequence[str]) -> dict[str, keras.optimizers.Optimizer]:
    """A sound optimiser for each variable group.

    Args:
      optimizer: a Keras optimiser or its name, for all groups; or a mapping with one for each.
      groups: of `Method.trained_variables`.

    Raises:
      UserError: for an optimiser that scales the loss or delegates to others, or a thing that is none.
    """
    if not isinstance(optimizer, Mapping):
        one = _optimizer(optimizer)
        return dict.fromkeys(groups, one)
    return {group: _optimizer(one) for group, one in optimizer.items()}


def _optimizer(given: Any) -> keras.optimizers.Optimizer:
    if isinstance(given, str):
        try:
            return keras.optimizers.get(given)
        except (ValueError, TypeError):
            raise UserError(f"optimizer must be a Keras optimiser or its name, received {given!r}.") from None
    if not isinstance(given, keras.optimizers.Optimizer):
        raise UserError(f"optimizer must be a Keras optimiser or its name, received {type(given).__name__}.")
    if isinstance(given, keras.optimizers.LossScaleOptimizer) or given.loss_scale_factor is not None:
        raise UserError(
            f"optimizer {given.name!r} scales the loss, which is for float16: pass the optimiser without loss scaling, "
            "and train in float32 or mixed_bfloat16."
        )
    if isinstance(given, keras.optimizers.MultiOptimizer):
        raise UserError(
            f"optimizer {given.name!r} delegates to others: pass a mapping from variable groups to optimisers instead."
        )
    return given


def check_unused(optimizer: keras.optimizers.Optimizer, variables: Sequence[keras.Variable]) -> None:
    """Raises UserError for an optimiser that was built for other variables."""
    if optimizer.built and {id(v) for v in variables} - {id(v) for v in optimizer._trainable_variables}:
        raise UserError(f"optimizer {optimizer.name!r} was already used with other variables: create a new optimiser.")


def check_method(learner: Learner, terms: Sequence[ObjectiveTerm]) -> None:
    """Raises UserError for the first feature of a layer that `fit` would honour and a meta-step would drop.

    Args:
      learner: built.
      terms: built; those with a `layer` (co-learners) are looked at too.
    """
    if tf.distribute.has_strategy():
        raise UserError(
            "a trainer must be made outside the scope of a tf.distribute strategy: pass the strategy to it instead."
        )
    for part, adapted in _parts(learner, terms):
        for layer in part._flatten_layers():
            _check_layer(layer)
        for variable in part.trainable_variables:
            _check_variable(variable, adapted)
    _check_calls(learner, terms)


def check_trainable(learner: Learner, terms: Sequence[ObjectiveTerm]) -> None:
    """Raises UserError if layers were frozen or thawed since the learner and the terms were made."""
    parts = [(learner.extractor, learner.variables.extractor), (learner.head, learner.variables.head)]
    parts += [(term.layer, term.variables) for term in terms if term.layer is not None]
    for layer, captured in parts:
        known, now = ({id(v): v for v in variables} for variables in (captured, layer.trainable_variables))
        for changed, variables in (
            ("frozen", [known[i] for i in known if i not in now]),
            ("thawed", [now[i] for i in now if i not in known]),
        ):
            if variables:
                raise UserError(
                    f"variable {variables[0].path!r} was {changed} after the learner was created, which the learner "
                    "would not see: set trainable first, then create the learner and the trainer."
                )


def _parts(learner: Learner, terms: Sequence[ObjectiveTerm]) -> Iterator[tuple[keras.Layer, bool]]:
    """Each part's layer, and whether the inner loop may move its weights."""
    yield learner.extractor, True
    yield learner.head, True
    for term in terms:
        if term.layer is not None:
            yield term.layer, False


def _check_layer(layer: keras.Layer) -> None:
    name = f"layer {layer.name!r} ({type(layer).__name__})"
    if layer.compute_dtype == "float16":
        raise UserError(f"{name} computes in float16, where gradients vanish: use float32 or mixed_bfloat16.")
    if layer.dtype_policy.quantization_mode is not None:
        raise UserError(f"{name} is quantised and has no weights to adapt: use it before quantisation.")
    if layer._metrics:
        raise UserError(f"{name} has the metric {layer._metrics[0].name!r}, which would stay empty: remove it.")


def _check_variable(variable: keras.Variable, adapted: bool) -> None:
    if variable.regularizer is not None:
        raise UserError(
            f"variable {variable.path!r} has a regulariser, which meta-training would ignore: remove it, "
            "and set weight_decay on the optimiser."
        )
    if adapted and variable.constraint is not None:
        raise UserError(
            f"variable {variable.path!r} has a constraint, which the inner loop would violate: remove it, or compute "
            "the weight from an unconstrained one inside the layer."
        )
    if getattr(variable, "overwrite_with_gradient", False):
        raise UserError(f"variable {variable.path!r} uses its gradient as its value: turn off float8 training.")


def _check_calls(learner: Learner, terms: Sequence[ObjectiveTerm]) -> None:
    """Looks for losses that only a call adds."""
    inputs, context = learner.example_inputs, context_arguments(learner.context)
    for training in (False, True):
        features = _check_call(learner.extractor, inputs, training=training, **context)
        # A head that reads targets in training has none here.
        _check_call(learner.head, features, training=training and not learner.head_takes_targets)
    for term in terms:
        if term.layer is not None:
            _check_call(term.layer, features, training=False)


def _check_call(layer: keras.Layer, inputs: Any, **arguments: Any) -> Any:
    with keras.StatelessScope(collect_losses=True) as scope:
        outputs = layer(inputs, **arguments)
        owners = [part for part in layer._flatten_layers() if part._get_own_losses()]
    if scope.losses:
        owner = owners[0] if owners else layer
        raise UserError(
            f"layer {owner.name!r} ({type(owner).__name__}) adds a loss of its own (add_loss or activity_regularizer), "
            "which meta-training would ignore: remove it, and write an objective term instead."
        )
    return outputs

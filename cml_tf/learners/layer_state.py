"""Which layers may live inside a learner: those whose state adaptation understands.

A layer with hidden state (running statistics, random seeds, a `tf.Variable`) would leak it from one task into the next,
or from one query into another. Such layers are refused by name when the learner is made, with the remedy. What could
change or draw is judged by what a call does, not by what the layer is: a recurrent layer without dropout has a random
seed too, and never touches it.

A layer whose state is meant to follow the task declares `threads_state = True`: its non-trainable weights then start
anew for each task, are carried through the inner loop and belong to what adaptation learned. That state is taken for
one of certain parameters, so it is brought up to date by one more pass over the support set after the last step; a
layer that only counts steps declares `state_follows_parameters = False`.

Weights that no inner step is to move, and the outer loop learns, a layer names in `outer_variables`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

import keras

from cml_tf.errors import UserError
from cml_tf.learners.hidden_state import hidden_attribute, is_foreign, traced_call

_WITH_MOMENTS = (keras.layers.LayerNormalization, keras.layers.GroupNormalization)
_RECURRENT = (keras.layers.RNN, keras.layers.Bidirectional)
_TO_BE_TRACKED = "create it with self.add_weight (trainable=False for a constant), so that it is adapted and saved"


def check_layer_state(layer: keras.Layer, inputs: Any, **arguments: Any) -> None:
    """Raises UserError for the first layer whose state adaptation does not understand.

    Accepted: layers without state, constant state, frozen layers (`trainable = False`) whose state is a constant for
    that reason, and layers that declare `threads_state`.

    Args:
      layer: built; the layers inside it are looked at too.
      inputs: of a call that shows what the layer does; nothing is run.
      **arguments: more of that call, besides `training`.
    """
    parts = _all_layers(layer)
    tracked = _ids((*layer.variables, *layer.metrics_variables))
    for part in parts:
        _check_attributes(part, tracked)
    if any(is_foreign(part) or _could_change(part) for part in parts):
        for training in (True, False):
            _check_call(layer, parts, lambda training=training: layer(inputs, training=training, **arguments))


def refuse_change(layer: keras.Layer, changed: frozenset[int]) -> None:
    """Raises UserError naming the layer that owns a variable which a call would have changed.

    Args:
      layer: that was called.
      changed: ids of variables.
    """
    parts = _all_layers(layer)
    for part in parts:
        if _ids(_own_state(part)) & changed:
            raise UserError(
                f"{_named(part)} has running state, which would leak between tasks: use "
                "cml_tf.learners.Normalisation instead, set trainable = False on it before the learner is created, or "
                "declare threads_state = True on its class if its state belongs to one task."
            )
        if _ids(part.metrics_variables) & _own_variables(part) & changed:
            raise UserError(f"{_named(part)} updates a metric in its call, which would be lost: remove the metric.")
        if _ids(part.trainable_weights) & _own_variables(part) & changed:
            raise UserError(f"{_named(part)} assigns weights in its call, which would be lost: remove the assignment.")
    owners = [part for part in parts if changed & _own_variables(part)]
    drawing = _named(owners[0]) if owners else _suspects(layer, parts)
    raise UserError(
        f"{drawing} draws random numbers, which adaptation does not support: remove the layer, or set its rate to 0."
    )


def settle_constants(*layers: keras.Layer) -> None:
    """Brings up to date what layers worked out of variables that have been assigned since.

    Keras' Normalization makes constants of the statistics that it was adapted to.
    """
    for part in (part for layer in layers for part in _all_layers(layer)):
        if isinstance(part, keras.layers.Normalization):
            part.finalize_state()


def check_second_derivatives(*layers: keras.Layer) -> None:
    """Raises UserError for the first layer whose second derivative is needed, and which TensorFlow gets wrong.

    `tf.nn.moments`, and with it Keras' normalisations, holds the mean inside the variance constant. That leaves the
    first derivative right, since the term it drops is zero there, but not the second one. A BatchNormalization that
    takes moments changes running statistics too: `check_layer_state` refuses it, unless they belong to the task.

    Args:
      *layers: in the order of a forward pass.
    """
    # What comes before the first weight that is learned is a constant: no derivative goes through it.
    first = next((number for number, layer in enumerate(layers) if layer.trainable_variables), len(layers))
    for part in (part for layer in layers[first:] for part in _all_layers(layer)):
        threads = getattr(part, "threads_state", False) and part.trainable
        if isinstance(part, _WITH_MOMENTS) or (isinstance(part, keras.layers.BatchNormalization) and threads):
            raise UserError(
                f"layer {part.name!r} ({type(part).__name__}) has a wrong second derivative in TensorFlow, which would "
                "make an exact meta-gradient wrong: use cml_tf.learners.Normalisation or keras.layers.RMSNormalization "
                "instead, or the hypergradient first_order or finite_difference."
            )


def threaded_variables(layer: keras.Layer) -> tuple[bool, ...]:
    """For each of the layer's non-trainable variables, in order: does a layer that threads its state own it?"""
    threaded = {
        id(variable)
        for part in _all_layers(layer)
        if getattr(part, "threads_state", False)
        for variable in part.non_trainable_weights
    }
    return tuple(id(variable) in threaded for variable in layer.non_trainable_weights)


def outer_variables(layer: keras.Layer) -> tuple[bool, ...]:
    """For each of the layer's trainable variables, in order: does the outer loop alone learn it?"""
    named = {id(variable) for part in _all_layers(layer) for variable in getattr(part, "outer_variables", ())}
    return tuple(id(variable) in named for variable in layer.trainable_variables)


def state_follows_parameters(*layers: keras.Layer) -> bool:
    """Whether a layer inside threads state that is out of date once parameters are updated.

    Raises:
      UserError: if another one counts steps: the pass that brings state up to date would be counted as one.
    """
    parts = [part for layer in layers for part in _all_layers(layer) if getattr(part, "threads_state", False)]
    following = [part for part in parts if getattr(part, "state_follows_parameters", True)]
    counting = [part for part in parts if part not in following]
    if following and counting:
        raise UserError(
            f"layer {counting[0].name!r} counts inner steps, but the state of {following[0].name!r} needs a pass "
            "over the support set that does not count as a step: use layers of only one of these kinds."
        )
    return bool(following)


def _named(layer: keras.Layer) -> str:
    return f"layer {layer.name!r} ({type(layer).__name__})"


def _ids(variables: Iterable[keras.Variable]) -> set[int]:
    return {id(variable) for variable in variables}


def _all_layers(layer: keras.Layer) -> list[keras.Layer]:
    # Keras offers no public way to walk the layers inside a layer that is not a Model.
    return list(layer._flatten_layers(include_self=True, recursive=True))


def _check_attributes(part: keras.Layer, tracked: Collection[int]) -> None:
    if getattr(part, "stateful", False) and isinstance(part, _RECURRENT):
        raise UserError(
            f"{_named(part)} continues from the state of its last call, which would leak between tasks: create it "
            "with stateful=False."
        )
    found = hidden_attribute(part, tracked)
    if found is not None:
        path, kind = found
        remedy = "look up the values before making episodes" if kind == "a lookup table" else _TO_BE_TRACKED
        raise UserError(
            f"{_named(part)} has {kind} in {path!r}, which would be neither adapted nor saved, or would leak between "
            f"tasks: {remedy}."
        )


def _check_call(layer: keras.Layer, parts: list[keras.Layer], call: Any) -> None:
    seen = traced_call(layer, call)
    threaded = {id(v) for part in parts if getattr(part, "threads_state", False) for v in part.non_trainable_weights}
    if changed := seen.changed - threaded:
        refuse_change(layer, changed)
    suspects = _suspects(layer, parts)
    if seen.captured:
        raise UserError(
            f"{suspects} uses {', '.join(seen.captured[:3])}, which it does not own: {_TO_BE_TRACKED}, and "
            "store layers that it calls in attributes."
        )
    if any("PyFunc" in operation for operation in seen.drew):
        raise UserError(
            f"{suspects} runs Python inside the graph (tf.numpy_function, tf.py_function), which could have hidden "
            "state, and which no server can run: use TensorFlow operations."
        )
    if seen.drew:
        raise UserError(
            f"{suspects} draws random numbers ({', '.join(seen.drew[:3])}), which adaptation does not support: "
            "remove them, or pass the numbers as inputs."
        )


def _suspects(layer: keras.Layer, parts: list[keras.Layer]) -> str:
    """The layers of other code inside a layer, where there are any: what Keras' own cannot have done, they did."""
    foreign = [part for part in parts if is_foreign(part)] or [layer]
    return " or ".join(map(_named, foreign[:3]))


def _could_change(part: keras.Layer) -> bool:
    """Whether a layer has variables that a call might change."""
    if getattr(part, "threads_state", False):
        return False
    return bool(_seeds(part) or (part.trainable and _own_state(part)))


def _own_state(layer: keras.Layer) -> list[keras.Variable]:
    own = _own_variables(layer)
    return [variable for variable in layer.non_trainable_weights if id(variable) in own]


def _seeds(layer: keras.Layer) -> list[keras.Variable]:
    counted = _own_variables(layer) - _ids(layer.weights)
    return [variable for variable in layer.variables if id(variable) in counted]


def _own_variables(layer: keras.Layer) -> set[int]:
    """Ids of a layer's variables, seeds included, without those of the layers inside it."""
    children = {id(variable) for child in _all_layers(layer)[1:] for variable in child.variables}
    return _ids((*layer.variables, *layer.metrics_variables)) - children

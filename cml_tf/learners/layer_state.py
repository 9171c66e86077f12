"""Which layers may live inside a learner: those whose state adaptation understands.

A layer with hidden state (running statistics, random seeds) would leak it from one task into the next, or from one
query into another. Such layers are refused by name when the learner is made, with the remedy. A layer whose state is
meant to follow the task declares `threads_state = True`: its non-trainable variables then start anew for each task, are
carried through the inner loop and belong to what adaptation learned. That state is taken for one of certain parameters,
so it is brought up to date by one more pass over the support set after the last step; a layer that only counts steps
declares `state_follows_parameters = False`.
"""

from __future__ import annotations

import keras

_WITH_MOMENTS = (keras.layers.LayerNormalization, keras.layers.GroupNormalization)


def check_layer_state(layer: keras.Layer) -> None:
    """Raises ValueError for the first layer whose state adaptation does not understand.

    Accepted: layers without state, frozen layers (`trainable = False`, their state is a constant), and layers that
    declare `threads_state`.
    """
    for part in _all_layers(layer):
        if getattr(part, "threads_state", False):
            continue
        if _seeds(part):
            raise ValueError(
                f"layer {part.name!r} ({type(part).__name__}) draws random numbers, which adaptation does not support: "
                "remove it (a rate of 0 is fine)."
            )
        if part.trainable and _own_state(part):
            raise ValueError(
                f"layer {part.name!r} ({type(part).__name__}) keeps running state, which would leak between tasks: use "
                "cml_tf.learners.Normalisation instead, set trainable = False on it before the learner is made, or "
                "declare threads_state = True on its class if its state belongs to one task."
            )


def check_second_derivatives(layer: keras.Layer) -> None:
    """Raises ValueError for the first layer whose second derivative TensorFlow gets wrong.

    `tf.nn.moments`, and with it Keras' normalisations, holds the mean inside the variance constant. That leaves the
    first derivative right, since the term it drops is zero there, but not the second one. Frozen BatchNormalization
    takes no moments.
    """
    for part in _all_layers(layer):
        if isinstance(part, _WITH_MOMENTS) or (isinstance(part, keras.layers.BatchNormalization) and part.trainable):
            raise ValueError(
                f"layer {part.name!r} ({type(part).__name__}) has a wrong second derivative in TensorFlow, which would "
                "ruin an exact meta-gradient: use cml_tf.learners.Normalisation or keras.layers.RMSNormalization "
                "instead, or the hypergradient first_order."
            )


def threaded_variables(layer: keras.Layer) -> tuple[bool, ...]:
    """For each of the layer's non-trainable variables, in order: does a layer that threads its state own it?"""
    threaded = {
        id(variable)
        for part in _all_layers(layer)
        if getattr(part, "threads_state", False)
        for variable in part.non_trainable_variables
    }
    return tuple(id(variable) in threaded for variable in layer.non_trainable_variables)


def state_follows_parameters(*layers: keras.Layer) -> bool:
    """Whether a layer inside threads state that is out of date once parameters are updated.

    Raises:
      ValueError: if another one counts steps: the pass that brings state up to date would be counted as one.
    """
    parts = [part for layer in layers for part in _all_layers(layer) if getattr(part, "threads_state", False)]
    following = [part for part in parts if getattr(part, "state_follows_parameters", True)]
    counting = [part for part in parts if part not in following]
    if following and counting:
        raise ValueError(
            f"layer {counting[0].name!r} counts inner steps, and the state of {following[0].name!r} asks for a pass "
            "over the support set that is none: a learner has layers of one of these kinds only."
        )
    return bool(following)


def _all_layers(layer: keras.Layer) -> list[keras.Layer]:
    # Keras offers no public way to walk the layers inside a layer that is not a Model.
    return list(layer._flatten_layers(include_self=True, recursive=True))


def _own_state(layer: keras.Layer) -> list[keras.Variable]:
    children = {id(v) for child in _all_layers(layer)[1:] for v in child.variables}
    return [v for v in layer.non_trainable_variables if id(v) not in children]


def _seeds(layer: keras.Layer) -> list[keras.Variable]:
    return [variable for variable in _own_state_of_any(layer) if "seed_generator" in variable.path]


def _own_state_of_any(layer: keras.Layer) -> list[keras.Variable]:
    children = {id(v) for child in _all_layers(layer)[1:] for v in child.variables}
    weights = {id(w) for w in layer.weights}
    return [v for v in layer.variables if id(v) not in children and id(v) not in weights]

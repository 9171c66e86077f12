"""The learner: a feature extractor and a head, called as pure functions of their parameters.

The inner loop needs the same layers under many different weights at once. Nothing is ever assigned for that: parameters
and state go in as tensors and the new state comes out, through Keras' own `StatelessScope`, so gradients of every order
flow through plain function arguments.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from cml_tf.boundary.arrays import check_shapes
from cml_tf.errors import UserError
from cml_tf.graphs import GraphContext
from cml_tf.learners.example import called, example_inputs_of, example_targets_of
from cml_tf.learners.layer_state import (
    check_layer_state,
    outer_variables,
    refuse_change,
    state_follows_parameters,
    threaded_variables,
)
from cml_tf.problems import at_least_float32


class Parameters(NamedTuple):
    """Tensors (or variables) that adaptation may move, in learner order: extractor (psi) first, then head (theta).

    Example:
      >>> learner = mlp(1, (1,), hidden=(8,))
      >>> [len(group) for group in learner.variables]  # kernels and biases
      [2, 2]
    """

    extractor: tuple[Any, ...]
    head: tuple[Any, ...]


class State(NamedTuple):
    """Values of the non-trainable variables of a learner: frozen weights, and state that layers thread per task.

    Example:
      >>> mlp(1, (1,), hidden=(8,)).state_variables
      State(extractor=(), head=())
    """

    extractor: tuple[Any, ...]
    head: tuple[Any, ...]


class Forward(NamedTuple):
    """What one forward pass returns.

    Example:
      >>> learner = mlp(1, (1,), hidden=(8,))
      >>> parameters, state = learner.initial()
      >>> forward = learner.call(parameters, state, np.zeros((3, 1), "float32"), (), training=False)
      >>> forward.features.shape, forward.outputs.shape
      (TensorShape([3, 8]), TensorShape([3, 1]))

    Attributes:
      features: the extractor's output (any structure), which the head and co-learners read.
      outputs: the head's output, `[examples, outputs]` for the provided heads.
      state: the learner state after the pass.
    """

    features: Any
    outputs: Any
    state: State


class Learner:
    """An extractor and a head, over any Keras model or layer, as pure functions.

    Set `trainable = False` on layers *before* the learner is made: frozen layers are neither adapted nor meta-learned.

    Example:
      >>> body = keras.Sequential([keras.layers.Conv2D(8, 3, activation="relu"), keras.layers.Flatten()])
      >>> learner = cml_tf.Learner(body, keras.layers.Dense(5), input_shape=(28, 28, 1))
      >>> learner.example_features.shape
      TensorShape([2, 5408])
    """

    def __init__(
        self,
        extractor: keras.Layer,
        head: keras.Layer,
        input_shape: tuple[int, ...] | None = None,
        example_inputs: Any = None,
        context: Any = (),
    ) -> None:
        """Builds both parts and captures their variables.

        Args:
          extractor: maps inputs `[examples, ...]` to features. When episodes have a context it is called as
            `extractor(inputs, context=context)`.
          head: maps features to outputs. If its `call` takes `targets`, it is given those of support sets.
          input_shape: shape of one input without the example axis; enough for single-tensor inputs.
          example_inputs: instead, a small batch of inputs of any structure.
          context: an example context, when the extractor takes one.

        Raises:
          UserError: if neither shape nor example is given, a part cannot take what it is to be given, a layer holds
            state that adaptation does not understand, or a variable belongs to both parts.
        """
        self.extractor = extractor
        self.head = head
        for part, layer in (("extractor", extractor), ("head", head)):
            if not isinstance(layer, keras.Layer):
                kind = layer.__name__ if isinstance(layer, type) else type(layer).__name__
                raise UserError(f"the {part} must be an instance of a Keras layer or model, received {kind}.")
        self.example_inputs = example_inputs_of(input_shape, example_inputs)
        self.context = context
        self.head_takes_targets = "targets" in inspect.signature(head.call).parameters
        features = called("extractor", extractor, self.example_inputs, **context_arguments(context))
        outputs = called("head", head, features)
        self.example_features = tf.nest.map_structure(tf.zeros_like, features)
        check_layer_state(extractor, self.example_inputs, **context_arguments(context))
        targets = {"targets": example_targets_of(head, features, outputs)} if self.head_takes_targets else {}
        check_layer_state(head, features, **targets)
        self.variables = Parameters(tuple(extractor.trainable_variables), tuple(head.trainable_variables))
        self.state_variables = State(tuple(extractor.non_trainable_weights), tuple(head.non_trainable_weights))
        self.state_follows_parameters = state_follows_parameters(extractor, head)
        self._outer = Parameters(outer_variables(extractor), outer_variables(head))
        self._check_variables()

    def _check_variables(self) -> None:
        everything = tf.nest.flatten((tuple(self.variables), tuple(self.state_variables)))
        if len({id(variable) for variable in everything}) != len(everything):
            raise UserError("extractor and head must not share a variable: assign each variable to one of them.")

    @property
    def second_head(self) -> keras.Layer | None:
        """The head that is adapted along with the one that answers (CL); None for learners with one head."""
        return getattr(self.head, "second", None)

    @property
    def variable_names(self) -> dict[int, str]:
        """A name for every variable, by its id: its group, its place in it, and what Keras calls it."""
        groups = {
            "extractor": self.variables.extractor,
            "head": self.variables.head,
            "extractor_state": self.state_variables.extractor,
            "head_state": self.state_variables.head,
        }
        return {
            id(variable): f"{group}/{position:04d}/{variable.name}"
            for group, variables in groups.items()
            for position, variable in enumerate(variables)
        }

    def initial(self) -> tuple[Parameters, State]:
        """The current values of all variables, as tensors: where adaptation starts."""
        read = tf.convert_to_tensor
        parameters = Parameters(*(tuple(map(read, group)) for group in self.variables))
        return parameters, State(*(tuple(map(read, group)) for group in self.state_variables))

    def call(
        self, parameters: Parameters, state: State, inputs: Any, context: Any, training: bool, targets: Any = None
    ) -> Forward:
        """One forward pass as a pure function.

        Args:
          parameters: as `variables`, but tensors.
          state: as `state_variables`, but tensors.
          inputs: `[examples, ...]` of one task.
          context: the episode's context, `()` for none.
          training: True on support sets, where layers may update their state; False on queries.
          targets: of a support set, for heads whose `call` takes `targets` (class prototypes); others do not see them.

        Returns:
          Features, outputs and the state after the pass.

        Raises:
          UserError: if the inputs are not of the structure and shapes of the learner's example.
        """
        check_shapes(self.example_inputs, inputs, "inputs", ("examples",))
        features, extractor_state = functional_call(
            self.extractor,
            (*self.variables.extractor, *self.state_variables.extractor),
            (*parameters.extractor, *state.extractor),
            self.state_variables.extractor,
            inputs,
            training=training,
            **context_arguments(context),
        )
        outputs, head_state = self.read(parameters.head, state.head, features, training, targets)
        return Forward(features, outputs, State(extractor_state, head_state))

    def read(
        self, parameters: tuple[Any, ...], state: tuple[Any, ...], features: Any, training: bool, targets: Any = None
    ) -> tuple[Any, tuple[Any, ...]]:
        """The head's outputs for features, and its state after the pass; arguments as of `call`, of the head alone."""
        return functional_call(
            self.head,
            (*self.variables.head, *self.state_variables.head),
            (*parameters, *state),
            self.state_variables.head,
            features,
            training=training,
            **({"targets": targets} if self.head_takes_targets else {}),
        )

    def adaptable(self, parameters: Parameters) -> Parameters:
        """Parameters without those that the outer loop alone learns (`outer_variables`); groups may be empty."""
        groups = zip(parameters, self._outer, strict=True)
        return Parameters(
            *(tuple(one for one, outer in zip(group, own, strict=bool(group)) if not outer) for group, own in groups)
        )

    def threaded_state(self) -> State:
        """For each state variable, whether its value belongs to one task and so to what adaptation learned."""
        return State(threaded_variables(self.extractor), threaded_variables(self.head))


def functional_call(
    layer: keras.Layer,
    variables: Sequence[keras.Variable],
    values: Sequence[Any],
    state_variables: Sequence[keras.Variable],
    inputs: Any,
    **arguments: Any,
) -> tuple[Any, tuple[Any, ...]]:
    """Calls a layer with other values in the place of its variables, and returns `(outputs, state after the call)`.

    `Layer.stateless_call` is not used: it goes past `__call__`, so a bare layer would neither follow its dtype policy
    nor be allowed to have a `call` without `training` argument.

    Args:
      layer: a built layer.
      variables: those whose values are given.
      values: tensors, one for each of `variables`.
      state_variables: those whose values after the call are returned.
      inputs: first argument of the layer.
      **arguments: more of its arguments; `training` is dropped where the layer does not take it.

    Raises:
      UserError: if the layer changes a variable that was not given (a rate of dropout that was raised afterwards).
    """
    with keras.StatelessScope(state_mapping=list(zip(variables, values, strict=True))) as scope:
        outputs = layer(inputs, **arguments)
    if changed := frozenset(scope.state_mapping) - {id(variable) for variable in variables}:
        refuse_change(layer, changed)
    return outputs, tuple(scope.get_current_value(variable) for variable in state_variables)


def count_parameters(variables: Any) -> int:
    """The number of scalars in a structure of variables.

    Example:
      >>> count_parameters(mlp(1, (1,), hidden=(8,)).variables)
      25
    """
    return sum(int(np.prod(variable.shape)) for variable in tf.nest.flatten(variables))


def context_arguments(context: Any) -> dict[str, Any]:
    """The keyword arguments that an extractor is called with for a context, `()` for none."""
    return {"context": context} if tf.nest.flatten(context) else {}


def check_context(learner: Learner, context: Any) -> None:
    """Raises UserError unless there is a context just where the learner takes one, and a graph where it takes that."""
    expected, graph = learner.context, isinstance(learner.context, GraphContext)
    needed, given = (bool(tf.nest.flatten(structure)) for structure in (expected, context))
    if isinstance(context, GraphContext) if graph else needed == given:
        return
    told = f"a context of type {type(expected).__name__}" if needed else "no context"
    remedy = ": pass context=cml_tf.graphs.graph_context(graph, hops)" if graph else ""
    raise UserError(f"this model takes {told}, received {type(context).__name__}{remedy}.")


def feature_width(learner: Learner) -> int:
    """How many features an example has, all axes and tensors together."""
    return sum(int(np.prod(part.shape[1:])) for part in tf.nest.flatten(learner.example_features))


def feature_rows(features: Any) -> tf.Tensor:
    """All features of an example in one row, `[examples, features]`, float32 or float64."""
    parts = [at_least_float32(part) for part in tf.nest.flatten(features)]
    return tf.concat([tf.reshape(part, [tf.shape(part)[0], int(np.prod(part.shape[1:]))]) for part in parts], 1)

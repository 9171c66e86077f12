"""State that a layer keeps where Keras does not see it: found by looking at what it holds, and at what a call does.

Keras hands over the variables that its layers track. A `tf.Variable`, a lookup table or a random generator in an
attribute is none of them: it is neither adapted nor trained nor saved, and what a call writes there stays for the next
task. Keras' own layers keep nothing of the kind (but for tables), so only calls of other code are traced.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import keras
import tensorflow as tf

_OURS = ("keras", "cml_tf", "tensorflow")
# Keras' layers that run what others wrote.
_FOREIGN = (keras.layers.Lambda, keras.layers.TFSMLayer)
_DEEPEST = 5
# Operations that give other numbers at every call; those with a seed as input (Stateless...) do not.
# Python functions may do anything, and no server could run them.
_DRAWING = (
    "Random",
    "Truncated",
    "ParameterizedTruncated",
    "Multinomial",
    "Stateful",
    "NonDeterministicInts",
    "PyFunc",
    "EagerPyFunc",
)


class Call(NamedTuple):
    """What calls of a layer did.

    Attributes:
      changed: ids of Keras variables that got a new value.
      captured: names of variables and other resources that were used and are not among the layer's variables.
      drew: names of operations that drew random numbers.
    """

    changed: frozenset[int]
    captured: tuple[str, ...]
    drew: tuple[str, ...]


def hidden_attribute(layer: keras.Layer, tracked: Collection[int]) -> tuple[str, str] | None:
    """The first attribute of a layer that holds state which Keras does not track: its path, and what it is.

    Args:
      layer: which is looked at without the layers inside it.
      tracked: ids of the variables that Keras knows.
    """
    return next(_found("", _attributes(layer), tracked, 0, set()), None)


def is_foreign(layer: keras.Layer) -> bool:
    """Whether a call of the layer runs code that is neither Keras' nor ours."""
    functions = [value for value in vars(layer).values() if callable(value) and hasattr(value, "__module__")]
    modules = [type(layer).__module__, *(str(function.__module__) for function in functions)]
    return isinstance(layer, _FOREIGN) or any(module.split(".")[0] not in _OURS for module in modules)


def traced_call(layer: keras.Layer, call: Callable[[], Any]) -> Call:
    """Traces a call of a built layer, with other values in the place of its variables; nothing is run.

    Args:
      layer: whose variables are given.
      call: calls it.
    """
    variables = list({id(v): v for v in (*layer.variables, *layer.metrics_variables)}.values())
    changed: set[int] = set()

    def run(values: Sequence[tf.Tensor]) -> None:
        # In a scope: at the root of a graph no name may begin with an underscore, as those of private classes do.
        mapping = list(zip(variables, values, strict=True))
        with tf.name_scope("call"), keras.StatelessScope(state_mapping=mapping) as scope:
            before = dict(scope.state_mapping)
            call()
            changed.update(key for key, value in scope.state_mapping.items() if before.get(key) is not value)

    specifications = [tf.TensorSpec(variable.shape, variable.dtype) for variable in variables]
    graph = tf.function(run, autograph=False).get_concrete_function(specifications).graph
    return Call(frozenset(changed), _captured(graph), _drew(graph))


def _captured(graph: Any) -> tuple[str, ...]:
    resources = [outside for outside, _ in graph.captures if outside.dtype == tf.resource]
    named = {id(variable.handle): variable.name for variable in graph.variables}
    return tuple(dict.fromkeys(str(named.get(id(handle), "a table or generator")) for handle in resources))


def _drew(graph: Any) -> tuple[str, ...]:
    definition = graph.as_graph_def()
    functions = definition.library.function
    operations = [node.op for node in definition.node] + [node.op for part in functions for node in part.node_def]
    found = [name for name in operations if name.startswith(_DRAWING) and name != "StatefulPartitionedCall"]
    return tuple(dict.fromkeys(found))


def _found(path: str, value: Any, tracked: Collection[int], depth: int, seen: set[int]) -> Iterator[tuple[str, str]]:
    kind = _kind(value, tracked)
    if kind is not None:
        yield path, kind
    if kind is not None or depth > _DEEPEST or id(value) in seen:
        return
    seen.add(id(value))
    for name, part in _parts(value):
        yield from _found(f"{path}{name}" if path else name.strip(".[]'"), part, tracked, depth + 1, seen)


def _kind(value: Any, tracked: Collection[int]) -> str | None:
    if isinstance(value, tf.Variable):
        return "a tf.Variable"
    if isinstance(value, keras.Variable) and id(value) not in tracked:
        return "a keras.Variable that Keras does not track"
    if isinstance(value, tf.random.Generator):
        return "a tf.random.Generator"
    return "a lookup table" if isinstance(value, tf.saved_model.experimental.TrackableResource) else None


def _parts(value: Any) -> Iterator[tuple[str, Any]]:
    """What a container or an object of somebody's own holds; layers are looked at by themselves."""
    if isinstance(value, (keras.Layer, keras.Variable, keras.random.SeedGenerator, type)):
        return
    if isinstance(value, Mapping):
        yield from ((f"[{key!r}]" if not isinstance(key, str) else f".{key}", part) for key, part in value.items())
    elif isinstance(value, (list, tuple, set, frozenset)):
        yield from ((f"[{position}]", part) for position, part in enumerate(value))
    elif isinstance(value, functools.partial):
        yield from (("", part) for part in (value.func, *value.args, *value.keywords.values()))
    elif hasattr(value, "__closure__") and value.__closure__:
        names = value.__code__.co_freevars
        yield from ((f".{name}", part) for name, part in zip(names, map(_cell, value.__closure__), strict=True))
    elif isinstance(value, tf.Module) or _is_foreign_object(value):
        yield from ((f".{name}", part) for name, part in _attributes(value).items())


def _is_foreign_object(value: Any) -> bool:
    return hasattr(value, "__dict__") and type(value).__module__.split(".")[0] not in (*_OURS, "numpy", "builtins")


def _attributes(owner: Any) -> dict[str, Any]:
    # What begins with `_self_` is TensorFlow's own list of what is there anyway.
    return {name: value for name, value in vars(owner).items() if not name.startswith("_self_")}


def _cell(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # still empty
        return None

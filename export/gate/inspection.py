"""What must not be in the file: the co-learner, and operations that a stock server lacks or refuses."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from cml_tf.training.method import Method
from export.errors import ExportError
from export.graph.exportable import Exportable

# They run Python, which a server does not have.
_PYTHON_OPERATIONS = {"PyFunc", "PyFuncStateless", "EagerPyFunc"}
_COMPILED = "_XlaMustCompile"


def check_file(saved_model: Path, forbidden: Iterable[str], variables: int) -> None:
    """Inspects what was written, not what was meant to be written.

    Args:
      saved_model: the directory.
      forbidden: names that must not occur anywhere in it, as bytes of the graph and of the index of variables.
      variables: how many it must hold.

    Raises:
      ExportError: naming the first thing that does not belong there.
    """
    content = (saved_model / "saved_model.pb").read_bytes()
    index = (saved_model / "variables" / "variables.index").read_bytes()
    for name in forbidden:
        if name.encode() in content or name.encode() in index:
            raise ExportError(f"the export must not contain the co-learner, but its name {name!r} occurs in the file.")
    for owner, node in _nodes(content):
        if node.op in _PYTHON_OPERATIONS:
            raise ExportError(
                f"{owner} runs Python ({node.op} {node.name!r}), which servers cannot run: use TensorFlow operations."
            )
        if node.attr[_COMPILED].b:
            raise ExportError(f"{owner} is compiled by XLA, which TensorFlow Serving refuses: remove jit_compile.")
    # The checkpoint holds its own object graph beside the variables.
    held = [name for name, _ in tf.train.list_variables(str(saved_model / "variables" / "variables"))]
    held = [name for name in held if name.endswith(".ATTRIBUTES/VARIABLE_VALUE")]
    if len(held) != variables:
        raise ExportError(
            f"the export must contain {variables} variables, received {len(held)}: {', '.join(held[:8])}."
        )


def co_learner_names(full: Method, model: Exportable) -> list[str]:
    """Names of the terms that were trained along, unless it is they that are served.

    Not of their layers: a layer of one's own may be called `dense_1`, and so is a second call of `dense` in a graph.
    """
    served = {id(variable) for _, variable in model.named_variables}
    return sorted(
        term.name
        for term in full.terms
        if term.variables and not any(id(variable) in served for variable in term.variables)
    )


def _nodes(content: bytes) -> Iterator[tuple[str, tf.compat.v1.NodeDef]]:
    """Every node with what it belongs to; functions can carry the mark of compilation too, so they come as nodes."""
    for graph in saved_model_pb2.SavedModel.FromString(content).meta_graphs:
        for node in graph.graph_def.node:
            yield "the graph", node
        for function in graph.graph_def.library.function:
            name = f"function {function.signature.name}"
            yield name, tf.compat.v1.NodeDef(name=name, op="function", attr=function.attr)
            for node in function.node_def:
                yield name, node

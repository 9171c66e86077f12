"""Operations that LiteRT's converter lacks or gets wrong, written as others of the same value.

Both are of TensorFlow 2.21. The parity gate would find either: the first stops a conversion, the second spoils it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tensorflow.core.framework import types_pb2
from tensorflow.core.framework.function_pb2 import FunctionDef
from tensorflow.core.framework.node_def_pb2 import NodeDef
from tensorflow.core.protobuf import saved_model_pb2

from cml_tf.system.files import write_bytes


def lower(saved_model: Path) -> None:
    """Rewrites the functions of a SavedModel in place.

    Args:
      saved_model: its directory.
    """
    path = saved_model / "saved_model.pb"
    content = saved_model_pb2.SavedModel.FromString(path.read_bytes())
    for graph in content.meta_graphs:
        for function in graph.graph_def.library.function:
            _lower(function)
    write_bytes(path, content.SerializeToString())


def _lower(function: FunctionDef) -> None:
    kinds = {node.name: node.op for node in function.node_def}
    nodes = list(function.node_def)
    for node in nodes:
        if node.op == "ReluGrad":
            function.node_def.extend(_chosen(node))
            _rename(function, f"{node.name}:backprops:", f"{node.name}:output:")
        elif node.op == "Sub" and kinds.get(node.input[1].partition(":")[0]) == "Transpose":
            function.node_def.extend(_turned_round(node))
            _rename(function, f"{node.name}:z:", f"{node.name}:y:")


def _chosen(node: NodeDef) -> Iterator[NodeDef]:
    """Makes `ReluGrad(gradients, features)` select the gradients where features are positive."""
    gradients, features = node.input[:2]
    dtype = node.attr["T"].type
    zero = NodeDef(name=f"{node.name}/zero", op="Const")
    zero.attr["dtype"].type = zero.attr["value"].tensor.dtype = dtype
    zero.attr["value"].tensor.tensor_shape.SetInParent()
    values = {types_pb2.DT_FLOAT: "float_val", types_pb2.DT_DOUBLE: "double_val"}
    getattr(zero.attr["value"].tensor, values.get(dtype, "half_val")).append(0)
    positive = NodeDef(name=f"{node.name}/positive", op="Greater", input=[features, f"{zero.name}:output:0"])
    positive.attr["T"].type = dtype
    node.op = "SelectV2"
    node.input[:] = [f"{positive.name}:z:0", gradients, f"{zero.name}:output:0"]
    yield from (zero, positive)


def _turned_round(node: NodeDef) -> Iterator[NodeDef]:
    """Makes `a - transposed` the negative of `transposed - a`: of a constant `a` the converter gives the latter."""
    minuend, transposed = node.input[:2]
    opposite = NodeDef(name=f"{node.name}/opposite", op="Sub", input=[transposed, minuend])
    opposite.attr["T"].type = node.attr["T"].type
    node.op = "Neg"
    node.input[:] = [f"{opposite.name}:z:0"]
    yield opposite


def _rename(function: FunctionDef, old: str, new: str) -> None:
    """Points all readers of an output at what it is called now."""
    for reader in function.node_def:
        reader.input[:] = [new + name.removeprefix(old) if name.startswith(old) else name for name in reader.input]
    for key, name in function.ret.items():
        if name.startswith(old):
            function.ret[key] = new + name.removeprefix(old)

"""How much work a traced function is: floating-point operations of its products, and kernels, counted in its graph.

A convolution or matrix product needs two operations (multiply, add) for each entry of its result and each term of that
entry's sum; padding counts as data. All else (normalisation, pooling, sparse products) is not counted as operations,
but as kernels: what a device is asked to start.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from tensorflow.types.experimental import ConcreteFunction

# Where the shapes of the maps and of the kernel stand: at an input, or in the result (None).
_CONVOLUTIONS = {"Conv2D": (None, 1), "Conv2DBackpropInput": (2, 1), "Conv2DBackpropFilter": (2, None)}
_MATRIX_PRODUCTS = {"MatMul": "transpose_a", "BatchMatMulV2": "adj_x"}
_CALLS = {
    **dict.fromkeys(("PartitionedCall", "StatefulPartitionedCall"), ("f",)),
    **dict.fromkeys(("If", "StatelessIf"), ("then_branch", "else_branch")),
}
_LOOPS = ("While", "StatelessWhile")
_NO_KERNELS = {"Const", "ExpandDims", "Identity", "IdentityN", "Placeholder", "Reshape", "Squeeze", "ReadVariableOp"}
# Shapes, axes and counters are computed by the host.
_HOST_ENTRIES = 8


class Operations(NamedTuple):
    """What a graph has to do.

    Attributes:
      convolutions: floating-point operations of convolutions and their derivatives.
      matrix_products: floating-point operations of dense matrix products.
      kernels: operations of all kinds, but for those that only look at a tensor in another way, or compute a shape.
    """

    convolutions: int = 0
    matrix_products: int = 0
    kernels: int = 0

    @property
    def products(self) -> int:
        """Floating-point operations of both kinds of products."""
        return self.convolutions + self.matrix_products

    def plus(self, other: Operations, times: int = 1) -> Operations:
        """The sum with `times` the other."""
        return Operations(*(mine + times * its for mine, its in zip(self, other, strict=True)))


def graph_operations(function: ConcreteFunction, trips: int | None = None) -> Operations:
    """Counts what the function's outputs and side effects need.

    Args:
      function: of static shapes.
      trips: how often a loop goes round, once a task where `tf.map_fn` goes through a meta-batch; None for no loops.

    Raises:
      ValueError: for a loop where there should be none or in another loop, a shape that is not static, and an operation
        that calls functions in a way that is not known here.
    """
    definition = function.graph.as_graph_def(add_shapes=True)
    library = {one.signature.name: one for one in definition.library.function}
    return _Body(definition.node, {}, None).count(library, trips)


class _Body:
    """The nodes of a graph or function, the shapes of what they make, and which of them are needed."""

    def __init__(self, nodes: Iterable[Any], arguments: Mapping[str, Any], roots: Iterable[str] | None) -> None:
        self.nodes = {node.name: node for node in nodes}
        self.shapes = {**arguments, **{name: _shapes(node.attr) for name, node in self.nodes.items()}}
        self.needed = set(self.nodes) if roots is None else self._reached(roots)

    def _reached(self, roots: Iterable[str]) -> set[str]:
        found: set[str] = set()
        waiting = [_node(root) for root in roots]
        while waiting:
            name = waiting.pop()
            if name in self.nodes and name not in found:
                found.add(name)
                waiting += [_node(source) for source in self.nodes[name].input]
        return found

    def count(self, library: Mapping[str, Any], trips: int | None) -> Operations:
        total = Operations()
        for node in (self.nodes[name] for name in self.needed):
            called = {key: value.func.name for key, value in node.attr.items() if value.func.name}
            if node.op in _LOOPS:
                if trips is None:
                    raise ValueError(
                        f"the number of iterations of the loop {node.name!r} is unknown, so it cannot be counted."
                    )
                total = total.plus(_body(library[called["body"]]).count(library, None), trips)
            elif node.op in _CALLS:
                # Of two branches, the one that does more.
                bodies = [_body(library[called[key]]) for key in _CALLS[node.op]]
                total = total.plus(max(body.count(library, trips) for body in bodies))
            elif called or any(value.list.func for value in node.attr.values()):
                raise ValueError(f"{node.op} is not a call that can be counted, received {node.name!r}.")
            else:
                total = total.plus(Operations(self._convolution(node), self._matrix_product(node), self._kernel(node)))
        return total

    def _convolution(self, node: Any) -> int:
        if node.op not in _CONVOLUTIONS:
            return 0
        maps, kernel = (self._shape(node, place) for place in _CONVOLUTIONS[node.op])
        return 2 * math.prod(maps[:3]) * math.prod(kernel)

    def _matrix_product(self, node: Any) -> int:
        if node.op not in _MATRIX_PRODUCTS:
            return 0
        transposed = node.attr[_MATRIX_PRODUCTS[node.op]].b
        return 2 * math.prod(self._shape(node, None)) * self._shape(node, 0)[-2 if transposed else -1]

    def _kernel(self, node: Any) -> int:
        made = [shape for shape in self.shapes[node.name] if not shape.unknown_rank]
        entries = [math.prod(side.size for side in shape.dim) for shape in made]
        return int(node.op not in _NO_KERNELS and max(entries, default=0) > _HOST_ENTRIES)

    def _shape(self, node: Any, place: int | None) -> list[int]:
        """Of the node's first result (None), or of its input at a place."""
        if place is None:
            shape = self.shapes[node.name][0]
        else:
            name, *port = node.input[place].split(":")
            shape = self.shapes[name][int(port[-1]) if port else 0]
        sides = [side.size for side in shape.dim]
        if shape.unknown_rank or min(sides, default=1) < 0:
            raise ValueError(f"shapes must be static to be counted, received {sides} at {node.name!r} ({node.op}).")
        return sides


def _body(function: Any) -> _Body:
    arguments = {one.name: _shapes(function.arg_attr[i].attr) for i, one in enumerate(function.signature.input_arg)}
    return _Body(function.node_def, arguments, [*function.ret.values(), *function.control_ret.values()])


def _shapes(attributes: Any) -> list[Any]:
    return list(attributes["_output_shapes"].list.shape)


def _node(source: str) -> str:
    """Of `node`, `node:index`, `node:port:index` or `^node`."""
    return source.removeprefix("^").split(":")[0]

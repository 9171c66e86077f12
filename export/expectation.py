"""How near a served answer must be to the library's own.

The same operations in two graphs may round differently. How much of that reaches an answer is the model's affair: an
inner loop with a large rate passes on the last bit of an input a thousandfold. So the tolerance is a fixed part, plus a
multiple of what the answer moves when the last bits of the inputs do.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from export.exportable import Exportable
from export.reference import Reference
from export.request_files import Request

Arrays = dict[str, np.ndarray]

_FIXED = 1e-5
# Half-precision layers keep 3 digits, and the optimiser may fuse them differently.
_FIXED_IN_HALF_PRECISION = 3e-2
_TIMES_LAST_BIT = 10
_SEED = 20240607


class Expectation(NamedTuple):
    """An answer and how far each of its values may be off; integers must be equal."""

    values: Arrays
    tolerances: Arrays


def expectation(model: Exportable, reference: Reference, request: Request) -> Expectation:
    """What a served model must answer to a request without fault."""
    values = reference.answer(request)
    nudged = reference.answer(_nudged(reference.with_arrays(request)))
    fixed = _fixed_tolerance(model)
    tolerances = {
        name: (fixed * (1 + np.abs(value)) + _TIMES_LAST_BIT * _spread(model, name, value, nudged[name])).astype("f4")
        for name, value in values.items()
        if value.dtype.kind == "f"
    }
    return Expectation(values, tolerances)


def _fixed_tolerance(model: Exportable) -> float:
    half = any("16" in layer.compute_dtype for layer in (model.learner.extractor, model.learner.head))
    return _FIXED_IN_HALF_PRECISION if half else _FIXED


def _nudged(request: Request) -> Request:
    """Every float moved to its neighbour, up or down at random: all in one direction, a normalisation would undo it."""
    generator = np.random.default_rng(_SEED)

    def nudge(array: np.ndarray) -> np.ndarray:
        if array.dtype.kind != "f":
            return array
        return np.nextafter(array, generator.choice(np.array([-np.inf, np.inf], np.float32), array.shape))

    return Request(request.signature, {name: nudge(array) for name, array in request.inputs.items()})


def _spread(model: Exportable, name: str, value: np.ndarray, nudged: np.ndarray) -> np.ndarray:
    """The largest difference, over the whole answer; in a state over each of its tensors, whose scales differ."""
    difference = np.abs(value - nudged)
    if name != "adapted_state":
        return np.full_like(value, difference.max(initial=0))
    sizes = [int(np.prod(shape)) for _, shape in model.state_layout]
    pieces = np.split(difference, np.cumsum(sizes)[:-1], axis=1)
    return np.concatenate([np.full_like(piece, piece.max(initial=0)) for piece in pieces], 1)

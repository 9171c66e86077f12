"""What a served answer is held against: tasks that are right or at fault, and how near the answer must be.

The same operations in two graphs may round differently. How much of that reaches an answer is the model's affair: an
inner loop with a large rate passes on the last bit of an input a thousandfold. So the tolerance is a fixed part, plus a
multiple of what the answer moves when the last bits of the inputs do.

Besides what a server is warmed up with, the parity gate asks with padding, and with tasks that have one fault. Such a
task travels with a copy as it should be, which must be answered as if it were alone; the one at fault gets its status
and a blank answer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from cml_tf.readouts.confidence.confidence import CALIBRATED, KNOWN, PREDICTION_SET, SCORE
from export import status
from export.gate.reference import Reference
from export.graph.bounds import ADAPT_BOUNDED, RATE, STEPS
from export.graph.compact import BYTES as COMPACT_BYTES
from export.graph.compact import PREDICT_COMPACT
from export.graph.exportable import Exportable
from export.graph.specifications import PADDED, PREDICT
from export.requests.files import Request

Arrays = dict[str, np.ndarray]

_FIXED = 1e-5
# Half-precision layers keep 3 digits, and the optimiser may fuse them differently.
_FIXED_IN_HALF_PRECISION = 3e-2
_TIMES_LAST_BIT = 10
_SEED = 20240607
Damage = Callable[[np.ndarray], None]


class Expectation(NamedTuple):
    """An answer and how far each of its values may be off; integers must be equal."""

    values: Arrays
    tolerances: Arrays


def expectation(model: Exportable, reference: Reference, request: Request) -> Expectation:
    """What a served model must answer to a request without fault."""
    values = reference.answer(request)
    nudged = reference.answer(_nudged(reference.with_arrays(request)))
    free = {COMPACT_BYTES, *(model.bounds.outputs if model.bounds else ())}
    tolerances = {
        name: _tolerance(model, name, value, nudged[name]).astype("f4")
        for name, value in values.items()
        if value.dtype.kind == "f" or name in free
    }
    return Expectation(values, tolerances | _of_decisions(model, request, values, tolerances))


def _tolerance(model: Exportable, name: str, value: np.ndarray, nudged: np.ndarray) -> np.ndarray:
    """Of a float; and of whole numbers that follow from floats: where rounding may turn them over."""
    exact = value.astype(np.float32)
    of_last_bit = _TIMES_LAST_BIT * _spread(model, name, exact, nudged.astype(np.float32))
    if value.dtype.kind != "f":
        return of_last_bit + (1 if name == COMPACT_BYTES else 0)
    rounding = np.spacing(np.abs(value)) if value.dtype == np.float16 else 0
    return _fixed_tolerance(model) * (1 + np.abs(exact)) + of_last_bit + rounding


def _of_decisions(model: Exportable, request: Request, values: Arrays, tolerances: Arrays) -> Arrays:
    """1 where rounding may turn a decision of confidence over, else 0."""
    if model.confidence is None or CALIBRATED not in values:
        return {}
    cuts = [model.confidence.cuts(counts) for counts in _support_counts(model, request)]
    probabilities, off = values[CALIBRATED], tolerances[CALIBRATED]
    cut = np.array([float(one.probability) for one in cuts])[:, None, None]
    top = probabilities.max(-1, keepdims=True)
    found = {PREDICTION_SET: (abs(probabilities - cut) <= off) | (probabilities >= top - 2 * off) & (top < cut + off)}
    if SCORE in values:
        cut = np.array([float(one.score) for one in cuts])[:, None]
        found[KNOWN] = abs(values[SCORE] - cut) <= tolerances[SCORE]
    return {name: array.astype("f4") for name, array in found.items()}


def _support_counts(model: Exportable, request: Request) -> list[np.ndarray]:
    """Support examples by class of each task, as an adapted state carries them or the request has them."""
    inputs, ways = request.inputs, model.problem.outputs
    if COMPACT_BYTES in inputs:
        halves = [np.frombuffer(content, np.float16) for content in inputs[COMPACT_BYTES]]
        return [model.support_counts(values.astype(np.float32)) for values in halves]
    if "adapted_state" in inputs:
        states = inputs["adapted_state"]
        lengths = inputs.get("adapted_length", np.full(len(states), states.shape[1]))
        return [model.support_counts(state[:length]) for state, length in zip(states, lengths, strict=True)]
    labels = inputs[model.target_name]
    sizes = inputs.get("support_size", np.full(len(labels), labels.shape[1]))
    return [np.bincount(row[:size], minlength=ways).astype(np.float32) for row, size in zip(labels, sizes, strict=True)]


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
    specification = model.packed_spec
    if name not in ("adapted_state", COMPACT_BYTES) or model.state_grows or specification is None:
        return np.full_like(value, difference.max(initial=0))
    sizes = [spec.shape.num_elements() for spec in specification]
    pieces = np.split(difference, np.cumsum(sizes)[:-1], axis=1)
    return np.concatenate([np.full_like(piece, piece.max(initial=0)) for piece in pieces], 1)


def probes(model: Exportable, warm_up: Sequence[Request], reference: Reference) -> list[tuple[Request, Expectation]]:
    """Requests with the answers that they must get."""
    # A model that adapts to its queries has no request that asks later.
    asked = (PADDED, PREDICT, ADAPT_BOUNDED, PREDICT_COMPACT)
    requests = [next((r for r in warm_up if r.signature == signature), None) for signature in asked]
    faults: dict[str, list[tuple[str, Damage, int]]] = {
        PADDED: [("support_size", _put(0), status.SIZE)],
        PREDICT: [("model_fingerprint", _flip, status.STATE_OF_ANOTHER_MODEL)],
        PREDICT_COMPACT: [
            ("model_fingerprint", _flip, status.STATE_OF_ANOTHER_MODEL),
            (COMPACT_BYTES, _lengthen, status.STATE_OF_ANOTHER_MODEL),
        ],
        ADAPT_BOUNDED: [],
    }
    if model.bounds is not None:
        high = np.nextafter(np.float32(model.bounds.limits[1]), np.float32(np.inf))
        wrong = ((STEPS, model.bounds.most_steps + 1), (STEPS, -2), (RATE, np.nan), (RATE, high))
        faults[ADAPT_BOUNDED] = [(name, _put(value), status.OUT_OF_BOUNDS) for name, value in wrong]
    for request in filter(None, requests):
        spoilt = {name: how for name, how in model.form.spoilt.items() if name in request.inputs}
        faults[request.signature] += [(name, _put(value), code) for name, (value, code) in spoilt.items()]
    if model.packs and (model.state_grows or model.state_size(0)):
        faults[PREDICT].append(("adapted_state", _put(np.nan), status.NON_FINITE_INPUT))
    if model.classification:
        faults[PADDED].append((model.target_name, _put(model.problem.outputs), status.LABEL_OUT_OF_RANGE))
    found = []
    for request in filter(None, requests):
        healthy = expectation(model, reference, request)
        found += [_probe(model, healthy, request, *fault) for fault in faults[request.signature]]
        if request.signature == PADDED:
            found.append(_with_padding(model, request, healthy))
    return found


def _probe(
    model: Exportable, healthy: Expectation, request: Request, name: str, damage: Damage, code: int
) -> tuple[Request, Expectation]:
    inputs = {key: np.concatenate([array, array]) for key, array in request.inputs.items()}
    damage(inputs[name][1:])
    blank = {key: np.zeros_like(array) for key, array in healthy.values.items()}
    blank["status"][:] = code
    queries = healthy.values[model.answer_name].shape[1] if model.answer_name in blank else 0
    blank |= {name: array.numpy()[None] for name, array in model.blank(queries).items() if name in blank}
    exact = {key: np.full_like(array, 1e-6) for key, array in healthy.tolerances.items()}
    expected = Expectation(_joined(healthy.values, blank, 0), _joined(healthy.tolerances, exact, 0))
    return Request(request.signature, inputs), expected


def _with_padding(model: Exportable, request: Request, healthy: Expectation) -> tuple[Request, Expectation]:
    """Three more rows of each array, full of NaN or of impossible numbers, that the sizes cut off."""
    # Sizes are one number a task.
    inputs = {name: array if array.ndim == 1 else _padded(array) for name, array in request.inputs.items()}
    answers = {name: healthy.values[name] for name in model.query_outputs}
    rows = {name: np.zeros((1, 3, *array.shape[2:]), array.dtype) for name, array in answers.items()}
    off = {name: healthy.tolerances[name] for name in answers}
    values = {**healthy.values, **_joined(answers, rows, 1)}
    tolerances = {**healthy.tolerances, **_joined(off, {name: rows[name].astype("f4") for name in rows}, 1)}
    return Request(request.signature, inputs), Expectation(values, tolerances)


def _padded(array: np.ndarray) -> np.ndarray:
    padding = np.full((1, 3, *array.shape[2:]), -1 if array.dtype.kind == "i" else np.nan, array.dtype)
    return np.concatenate([array, padding], 1)


def _joined(first: Arrays, second: Arrays, axis: int) -> Arrays:
    return {name: np.concatenate([array, second[name]], axis) for name, array in first.items()}


def _put(value: float) -> Damage:
    def damage(array: np.ndarray) -> None:
        array.reshape(-1)[-1] = value

    return damage


def _lengthen(array: np.ndarray) -> None:
    array[-1] = array[-1] + b"\0"


def _flip(array: np.ndarray) -> None:
    array ^= 1

"""Requests that a server is not warmed up with but that the parity gate replays too: tasks at fault, and padding.

A task as it should be travels with a copy of it that has one fault. The first must be answered as if it were alone, the
second with its status and a blank answer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from export import status
from export.expectation import Arrays, Expectation, expectation
from export.exportable import Exportable
from export.reference import Reference
from export.request_files import Request
from export.specifications import PADDED, PREDICT, answer_name, target_name

Damage = Callable[[np.ndarray], None]


def probes(model: Exportable, warm_up: Sequence[Request], reference: Reference) -> list[tuple[Request, Expectation]]:
    """Requests with the answers that they must get."""
    padded, predict = (
        next(request for request in warm_up if request.signature == signature) for signature in (PADDED, PREDICT)
    )
    faults: dict[str, list[tuple[str, Damage, int]]] = {
        PADDED: [("support_size", _put(0), status.SIZE)],
        PREDICT: [("model_fingerprint", _flip, status.STATE_OF_ANOTHER_MODEL)],
    }
    for request in (padded, predict):
        spoilt = {name: how for name, how in model.form.spoilt.items() if name in request.inputs}
        faults[request.signature] += [(name, _put(value), code) for name, (value, code) in spoilt.items()]
    if model.state_size:
        faults[PREDICT].append(("adapted_state", _put(np.nan), status.NON_FINITE_INPUT))
    if model.classification:
        faults[PADDED].append((target_name(model), _put(model.problem.outputs), status.LABEL_OUT_OF_RANGE))
    found = []
    for request in (padded, predict):
        healthy = expectation(model, reference, request)
        found += [_probe(model, healthy, request, *fault) for fault in faults[request.signature]]
        if request is padded:
            found.append(_with_padding(request, healthy, answer_name(model)))
    return found


def _probe(
    model: Exportable, healthy: Expectation, request: Request, name: str, damage: Damage, code: int
) -> tuple[Request, Expectation]:
    inputs = {key: np.concatenate([array, array]) for key, array in request.inputs.items()}
    damage(inputs[name][1:])
    blank = {key: np.zeros_like(array) for key, array in healthy.values.items()}
    blank["status"][:] = code
    if model.classification:
        blank[answer_name(model)][:] = 1 / model.problem.outputs
    exact = {key: np.full_like(array, 1e-6) for key, array in healthy.tolerances.items()}
    expected = Expectation(_joined(healthy.values, blank, 0), _joined(healthy.tolerances, exact, 0))
    return Request(request.signature, inputs), expected


def _with_padding(request: Request, healthy: Expectation, answer: str) -> tuple[Request, Expectation]:
    """Three more rows of each array, full of NaN or of impossible numbers, that the sizes cut off."""
    # Sizes are one number a task.
    inputs = {name: array if array.ndim == 1 else _padded(array) for name, array in request.inputs.items()}
    rows = {answer: np.zeros((1, 3, healthy.values[answer].shape[-1]), np.float32)}
    values = {**healthy.values, **_joined({answer: healthy.values[answer]}, rows, 1)}
    tolerances = {**healthy.tolerances, **_joined({answer: healthy.tolerances[answer]}, rows, 1)}
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


def _flip(array: np.ndarray) -> None:
    array ^= 1

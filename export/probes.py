"""Requests that TensorFlow Serving is not warmed up with but that the parity gate replays too: tasks at fault.

Each is a task as it should be with a copy of it that has one fault. The first must be answered as if it were alone, the
second with its status and a blank answer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from export import status
from export.exportable import Exportable
from export.reference import Reference
from export.request_files import Request
from export.specifications import PADDED, PREDICT, answer_name, target_name

Expected = dict[str, np.ndarray]


def probes(
    model: Exportable, warm_up: list[Request], reference: Reference
) -> list[tuple[Request, Expected]]:
    """Requests with the answers that they must get."""
    padded = next(request for request in warm_up if request.signature == PADDED)
    predict = next(request for request in warm_up if request.signature == PREDICT)
    faults: list[tuple[Request, str, Callable[[np.ndarray], None], int]] = [
        (padded, "support_inputs", _put(np.nan), status.NON_FINITE_INPUT),
        (padded, "query_inputs", _put(np.inf), status.NON_FINITE_INPUT),
        (padded, "support_size", _put(0), status.SIZE),
        (predict, "model_fingerprint", _add(1), status.STATE_OF_ANOTHER_MODEL),
        (predict, "adapted_state", _put(np.nan), status.NON_FINITE_INPUT),
    ]
    if model.classification:
        faults.append((padded, target_name(model), _put(model.problem.outputs), status.LABEL_OUT_OF_RANGE))
    found = [_probe(model, reference.answer(request), request, *fault) for request, *fault in faults]
    return [*found, _with_padding(padded, reference.answer(padded), answer_name(model))]


def _probe(
    model: Exportable,
    healthy: Mapping[str, np.ndarray],
    request: Request,
    name: str,
    damage: Callable[[np.ndarray], None],
    code: int,
) -> tuple[Request, Expected]:
    inputs = {key: np.concatenate([array, array]) for key, array in request.inputs.items()}
    damage(inputs[name][1:])
    blank = {key: np.zeros_like(array) for key, array in healthy.items()}
    blank["status"][:] = code
    if model.classification:
        blank[answer_name(model)][:] = 1 / model.problem.outputs
    expected = {key: np.concatenate([array, blank[key]]) for key, array in healthy.items()}
    return Request(request.signature, inputs), expected


def _with_padding(
    request: Request, healthy: Mapping[str, np.ndarray], answer: str
) -> tuple[Request, Expected]:
    """Three more rows of each array, full of NaN or of impossible labels, that the sizes cut off."""
    sizes = ("support_size", "query_size")
    inputs = {name: array if name in sizes else _padded(array) for name, array in request.inputs.items()}
    rows = np.zeros((1, 3, healthy[answer].shape[-1]), np.float32)
    return Request(request.signature, inputs), {**healthy, answer: np.concatenate([healthy[answer], rows], 1)}


def _padded(array: np.ndarray) -> np.ndarray:
    padding = np.full((1, 3, *array.shape[2:]), -1 if array.dtype.kind == "i" else np.nan, array.dtype)
    return np.concatenate([array, padding], 1)


def _put(value: float) -> Callable[[np.ndarray], None]:
    def damage(array: np.ndarray) -> None:
        array.reshape(-1)[-1] = value

    return damage


def _add(value: int) -> Callable[[np.ndarray], None]:
    def damage(array: np.ndarray) -> None:
        array += value

    return damage

"""How far answers from compact states are off those from whole ones: measured on the warm-up requests."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from export.gate.reference import Reference
from export.graph.compact import PREDICT_COMPACT
from export.graph.exportable import Exportable
from export.graph.specifications import PREDICT
from export.requests.files import Request


def state_difference(model: Exportable, warm_up: Sequence[Request], reference: Reference) -> float | None:
    """The largest difference of a probability or prediction; None for models without compact states."""
    if model.compact is None:
        return None
    # They are asked the same queries, after adapting to the same examples.
    kinds = ([request for request in warm_up if request.signature == name] for name in (PREDICT, PREDICT_COMPACT))
    answers = [[reference.answer(request)[model.answer_name] for request in requests] for requests in kinds]
    return max(float(np.abs(whole - small).max(initial=0)) for whole, small in zip(*answers, strict=True))

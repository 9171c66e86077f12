"""Whether an answer depends on the other queries that are asked with it: measured, so it holds for any layer."""

from __future__ import annotations

from typing import Any

import numpy as np

from cml_tf.learners.learner import Learner
from cml_tf.learners.normalisation.layer import Normalisation
from cml_tf.learners.normalisation.mode import MODES
from export.gate.reference import Reference
from export.graph.exportable import Exportable
from export.graph.specifications import DEFAULT
from export.requests.files import Request

# Of the largest answer; rounding gives 1e-6, batch statistics give more than 1e-2.
_THRESHOLD = 1e-4


def query_dependence(model: Exportable, warm_up: list[Request], reference: Reference) -> dict[str, Any]:
    """Normalisation modes, and how far the first query's answer moves when it is asked alone."""
    asked = max(
        (request for request in warm_up if request.signature == DEFAULT), key=lambda request: _examples(model, request)
    )
    # Support examples serve as queries here: there are several of them at any rate, which one query would not show.
    queries = asked.inputs[model.form.support]
    together = _answer(model, reference, asked, queries)[:, :1]
    alone = _answer(model, reference, asked, queries[:, :1])
    difference = float(np.abs(together - alone).max())
    modes = normalisation_modes(model.learner)
    return {
        "normalisation": modes,
        "statistics": {mode: MODES[mode].text for mode in modes},
        "adapts_to_queries": model.rule.uses_query_inputs,
        "predictions_depend_on_other_queries": model.rule.uses_query_inputs
        or difference > _THRESHOLD * max(1.0, float(np.abs(together).max())),
        "measured_difference": difference,
    }


def normalisation_modes(learner: Learner) -> list[str]:
    """The modes of this project's normalisation layers in a learner; empty if none of them normalises."""
    # Keras offers no public way to walk the layers inside a layer that is not a Model.
    parts = [part for layer in (learner.extractor, learner.head) for part in layer._flatten_layers()]
    modes = {part.mode for part in parts if isinstance(part, Normalisation)}
    return sorted(mode for mode in modes if MODES[mode].standardises)


def _answer(model: Exportable, reference: Reference, asked: Request, queries: np.ndarray) -> np.ndarray:
    return reference.answer(Request(DEFAULT, {**asked.inputs, model.form.query: queries}))[model.answer_name]


def _examples(model: Exportable, request: Request) -> int:
    return request.inputs[model.target_name].shape[1]

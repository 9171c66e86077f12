"""The model card as JSON: what a version is, where it comes from, how good it is and how to use it."""

from __future__ import annotations

import datetime
from typing import Any

from cml_tf.learners.learner import count_parameters
from cml_tf.problems import problem_to_json
from cml_tf.training.method import Method
from export.card.origin import Origin, git_commit, library_versions
from export.gate.inspection import co_learner_names
from export.graph.exportable import Exportable
from export.graph.serving_module import ServingModule
from export.graph.specifications import Specifications, input_specifications, output_specifications
from export.status import MEANINGS

# Raise when a key changes its meaning.
FORMAT = 1


def model_card(
    name: str,
    model: Exportable,
    module: ServingModule,
    origin: Origin,
    readout: str,
    queries: dict[str, Any],
    metrics: dict[str, Any] | None,
    state_difference: float | None = None,
) -> dict[str, Any]:
    """The card as JSON.

    Args:
      name: of the model.
      model: what is served.
      module: its variables.
      origin: where it comes from.
      readout: which head answers.
      queries: from `query_dependence`.
      metrics: an evaluation, or None if there was none.
      state_difference: from `state_difference`.
    """
    return {
        "format": FORMAT,
        "name": name,
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "problem": problem_to_json(model.problem),
        # Whether classes without a support example get probability 0, so that `problem.ways` is the most there can be.
        "any_ways": model.rule.any_ways,
        "inputs": model.form.card,
        "adaptation": {**origin.adaptation, "steps": model.rule.steps, "readout": readout},
        "queries": queries,
        "confidence": None if model.confidence is None else model.confidence.to_json(),
        "limits": {
            "support_examples": model.limits.support,
            "queries": model.limits.queries,
            "queries_in_files": model.limits.query_files if model.takes_images else None,
        },
        "bounds": None if model.bounds is None else model.bounds.to_json(model.rule),
        "batching": {"buckets": [bucket._asdict() for bucket in model.buckets]} if model.buckets else None,
        "data": origin.data,
        "training": origin.training,
        "metrics": metrics,
        "signatures": _signatures(model),
        "status": {str(code): meaning for code, meaning in MEANINGS.items()},
        "adapted_state": _state(model, state_difference),
        "parameters": _parameters(model, origin.trained),
        "variables_sha256": module.digest,
        "model_fingerprint": module.fingerprint,
        "git_commit": git_commit(),
        "libraries": library_versions(),
        "config": origin.config,
    }


def _signatures(model: Exportable) -> dict[str, Any]:
    outputs = output_specifications(model)
    return {
        signature: {
            "inputs": _described(inputs),
            "outputs": _described(outputs[signature], tasks=True),
        }
        for signature, inputs in input_specifications(model).items()
    }


def _described(specifications: Specifications, tasks: bool = False) -> dict[str, Any]:
    leading = [None] if tasks else []
    return {
        name: {"dtype": specification.dtype.name, "shape": leading + specification.shape.as_list()}
        for name, specification in specifications.items()
    }


def _state(model: Exportable, difference: float | None) -> dict[str, Any] | None:
    """What an adapted state holds, None of a model that has none; offsets behind what grows are open."""
    if model.packed_spec is None:
        return None
    entries: list[dict[str, Any]] = []
    offset: int | None = 0
    for spec in model.packed_spec:
        # Of an axis that is open, as many as there are support examples: null in JSON.
        size = spec.shape.num_elements()
        entries.append({"name": spec.name, "shape": spec.shape.as_list(), "offset": offset, "size": size})
        offset = None if offset is None or size is None else offset + size
    compact = model.compact
    small: dict[str, Any] | None = None
    if compact is not None:
        small = {"dtype": compact.dtype, "bytes": compact.bytes, "float32_bytes": 4 * compact.length}
        small["measured_difference"] = difference
    return {"dtype": "float32", "length": offset, "order": "row-major", "entries": entries, "compact": small}


def _parameters(model: Exportable, trained: Method) -> dict[str, Any]:
    learner, rule = count_parameters(model.learner.variables), count_parameters(model.rule.meta_variables)
    left_out = set(co_learner_names(trained, model))
    return {
        "learner": learner,
        "adaptation_rule": rule,
        "served": learner + rule,
        "left_behind": {term.name: count_parameters(term.variables) for term in trained.terms if term.name in left_out},
    }

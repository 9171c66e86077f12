"""Requests of many shapes, hardly two alike, made from those that an export carries for warm-up."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from export.exporter import EXTRA, WARM_UP
from export.graph.specifications import ADAPT, DEFAULT, PREDICT
from export.requests.files import Request, read_requests

Arrays = dict[str, np.ndarray]
ADAPT_THEN_PREDICT = "adapt, then predict"
STATE = ("adapted_state", "model_fingerprint")
_SIZES, _NODE_COUNT = ("_size", "_count"), "node_count"


@dataclass(frozen=True)
class Question:
    """What a client asks: one call, or two of which the second uses what the first one adapted.

    Attributes:
      model: name.
      kind: the signature, or `ADAPT_THEN_PREDICT`.
      signature: of the first call.
      inputs: of the first call.
      query: of the second call, what it takes beside the state; None for a single one.
    """

    model: str
    kind: str
    signature: str
    inputs: Mapping[str, np.ndarray]
    query: Mapping[str, np.ndarray] | None = None

    @property
    def tasks(self) -> int:
        """How many tasks it asks about."""
        return len(next(iter(self.inputs.values())))


def questions(model: str, version: Path, count: int, seed: int, tasks: int = 2) -> list[Question]:
    """Questions about every signature in turn.

    Args:
      model: what the server calls it.
      version: directory of the export.
      count: of questions.
      seed: of the differences between them.
      tasks: at most so many in one question.
    """
    generator = np.random.default_rng(seed)
    templates = list(_templates(model, read_requests(version / EXTRA / WARM_UP)))
    made = []
    for position in range(count):
        template = templates[position % len(templates)]
        rows = [_varied(template, generator) for _ in range(int(generator.integers(1, tasks + 1)))]
        inputs = {name: np.concatenate([row.inputs[name] for row in rows]) for name in template.inputs}
        query = None
        if template.query is not None:
            # Of a graph those of the first call: nodes are numbers in it.
            query = {
                name: inputs[name] if name in inputs else np.repeat(array, len(rows), axis=0)
                for name, array in template.query.items()
            }
        made.append(Question(model, template.kind, template.signature, inputs, query))
    return made


def _templates(model: str, requests: list[Request]) -> Iterator[Question]:
    takes = {signature: inputs.keys() for signature, inputs in requests}
    for signature, inputs in requests:
        yield Question(model, signature, signature, inputs)
        if signature == DEFAULT:
            support = {name: array for name, array in inputs.items() if name in takes[ADAPT]}
            query = {name: array for name, array in inputs.items() if name in takes[PREDICT]}
            yield Question(model, ADAPT_THEN_PREDICT, ADAPT, support, query)


def _varied(question: Question, generator: np.random.Generator) -> Question:
    inputs = {
        name: array if name in STATE else _other(name, array, generator) for name, array in question.inputs.items()
    }
    return Question(question.model, question.kind, question.signature, inputs, question.query)


def _other(name: str, array: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Other values, as valid as those given: examples, nodes or edges in another order, and smaller."""
    if name == _NODE_COUNT:
        # Fewer nodes would leave edges and examples without theirs.
        return array
    if name.endswith(_SIZES):
        return generator.integers(1, array, endpoint=True, dtype=array.dtype)
    mixed = generator.permutation(array, axis=1)
    return (
        mixed * generator.uniform(0.5, 1, (1, *mixed.shape[1:])).astype(np.float32)
        if mixed.dtype.kind == "f"
        else mixed
    )

"""Answers as one HTML page with the images in it; it loads nothing from anywhere."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from export.client.answers import Answer
from export.client.examples import ExampleSet
from export.client.printed import NONE_OF_THESE, accuracy

_TEMPLATE = "contact_sheet.html"
_SHOWN_CLASSES = 3
_MEDIA_TYPES = {b"\x89PNG": "image/png", b"\xff\xd8": "image/jpeg", b"GIF8": "image/gif", b"BM": "image/bmp"}


def contact_sheet(answer: Answer, queries: ExampleSet, support: ExampleSet | None = None) -> str:
    """The page; names of files and classes are shown, not obeyed.

    Args:
      answer: to the queries.
      queries: as they were asked.
      support: what was adapted to, if it is at hand.
    """
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(_TEMPLATE).render(
        title=f"{len(queries.names)} {'query' if len(queries.names) == 1 else 'queries'}",
        accuracy=accuracy(answer, queries),
        support=_support(support),
        queries=[_query(answer, queries, position) for position in range(len(queries.names))],
    )


def _support(support: ExampleSet | None) -> list[dict[str, Any]]:
    if support is None:
        return []
    return [
        {"name": name, "target": str(target), "picture": _picture(support.inputs[position])}
        for position, (name, target) in enumerate(zip(support.names, support.targets, strict=True))
    ]


def _query(answer: Answer, queries: ExampleSet, position: int) -> dict[str, Any]:
    truth = None if queries.targets is None else str(queries.targets[position])
    right = None if truth is None or answer.class_names is None else answer.classes[position] == truth
    return {
        "name": queries.names[position],
        "picture": _picture(queries.inputs[position]),
        "truth": truth,
        "right": right,
        "found": _values(answer, answer.shares[position]),
        "unknown": NONE_OF_THESE if _is_unknown(answer, position) else None,
        "set": ", ".join(answer.prediction_set(position)) if answer.confidence else None,
    }


def _is_unknown(answer: Answer, position: int) -> bool:
    known = None if answer.confidence is None else answer.confidence.known
    return known is not None and not known[position]


def _values(answer: Answer, values: np.ndarray) -> list[tuple[str, dict[str, Any]]]:
    if answer.class_names is None:
        return [("", {"text": f"{value:.6g}", "share": None}) for value in values]
    best = np.argsort(-values, kind="stable")[:_SHOWN_CLASSES]
    return [
        (answer.class_names[column], {"text": f"{values[column]:.1%}", "share": float(values[column])})
        for column in best
    ]


def _picture(example: Any) -> str | None:
    """A data address of an image file; arrays have no picture, their values may mean anything."""
    if not isinstance(example, bytes):
        return None
    media_type = next((kind for start, kind in _MEDIA_TYPES.items() if example.startswith(start)), None)
    return media_type and f"data:{media_type};base64,{base64.b64encode(example).decode()}"

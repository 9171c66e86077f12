"""Tasks as requests that a server may join with those of others: padded to shape buckets, split, checked before sent.

A server that joins requests (TensorFlow Serving with --enable_batching) fails all of those joined if one of them has
another shape, and hangs on a request without tasks. A model that was exported with --batching has signatures of fixed
sizes, so everything of one signature can be joined; its metadata tell them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from export.client.errors import ClientError
from export.client.interface import Interface, Settings

WHOLE, FILES, ADAPT, PREDICT = "serving_default", "adapt_and_predict_bytes", "adapt", "predict"
WHOLE_BOUNDED, ADAPT_BOUNDED = "adapt_and_predict_bounded", "adapt_bounded"
ADAPT_COMPACT, PREDICT_COMPACT = "adapt_compact", "predict_compact"
_PADDED = {
    WHOLE: "adapt_and_predict_padded",
    FILES: "adapt_and_predict_bytes_padded",
    ADAPT: "adapt_padded",
    PREDICT: "predict_padded",
}
_REMEDY = "export the model with larger --buckets, or set padding to never if the server does not batch requests"

_FIXED = re.compile(rf"({'|'.join(_PADDED.values())})(_[0-9]+){{1,2}}")

Inputs = Mapping[str, np.ndarray]
# A signature that takes any size, and the inputs of one task, with a task axis of 1.
Call = tuple[str, Inputs]


class Task(NamedTuple):
    """What `FewShotClient.adapt_and_predict` takes of one task; `graph` is for models on nodes.

    With `steps` or `rate` the model must let requests set them (`export.client.trace`).

    Example:
      >>> task = Task(images, names, questions)
      >>> with FewShotClient(address, "letters") as client:
      ...     answers = client.adapt_and_predict_tasks([task, task])
      >>> len(answers)
      2
    """

    support_inputs: Any
    support_targets: Any
    query_inputs: Any
    graph: Any = None
    steps: int | None = None
    rate: float | None = None


class Piece(NamedTuple):
    """One task as it is sent, or the part of one that some of its queries are.

    Attributes:
      signature: that it asks.
      inputs: with a task axis of 1.
      queries: how many rows of the answer are no padding.
    """

    signature: str
    inputs: Inputs
    queries: int


class _Bucket(NamedTuple):
    """A signature of fixed sizes; 0 for a part that it does not take."""

    support: int
    query: int
    signature: str


def pieces(interface: Interface, settings: Settings, signature: str, inputs: Inputs) -> list[Piece]:
    """One task as the model and the settings ask for it.

    Raises:
      ClientError: if it does not fit a bucket of the model.
    """
    suffix = "_bytes" if signature == FILES else ""
    support, query = interface.support + suffix, interface.query + suffix
    support_count, query_count = (inputs[name].shape[1] if name in inputs else 0 for name in (support, query))
    buckets = _buckets(interface, signature, support, query) if settings.padding != "never" else []
    if not buckets:
        if settings.padding == "always" and interface.node_features is not None:
            raise ClientError(
                "requests to a model on nodes cannot be batched, so it has no shape buckets: serve it without "
                "batching, and set padding to auto."
            )
        if settings.padding == "always":
            raise ClientError(
                "the model has no shape buckets for padding: export it with --batching, or set padding to auto."
            )
        return [Piece(signature, inputs, query_count)]
    bucket = _smallest(buckets, support_count, query_count, settings.split_queries)
    sizes = {support: bucket.support, interface.targets: bucket.support, query: bucket.query}
    found = []
    for start in range(0, max(query_count, 1), max(bucket.query, 1)):
        part = {**inputs, query: inputs[query][:, start : start + bucket.query]} if query in inputs else inputs
        counts = {"support_size": support_count} if support in inputs else {}
        if query in inputs:
            counts["query_size"] = part[query].shape[1]
        padded = {name: _padded(array, sizes[name]) if name in sizes else array for name, array in part.items()}
        padded |= {name: np.array([count], np.int32) for name, count in counts.items()}
        found.append(Piece(bucket.signature, padded, counts.get("query_size", 0)))
    return found


def joined(found: Sequence[Piece], most: int) -> list[list[int]]:
    """Which pieces, by their positions, make up each request: of equal shapes, and at most so many."""
    alike: dict[tuple, list[int]] = {}
    for position, piece in enumerate(found):
        shapes = tuple((name, array.shape) for name, array in piece.inputs.items())
        alike.setdefault((piece.signature, shapes), []).append(position)
    return [group[start : start + most] for group in alike.values() for start in range(0, len(group), most)]


def check_request(interface: Interface, signature: str, inputs: Inputs) -> None:
    """Raises ClientError for a request that could only fail, and with it those that a server joins it with."""
    shapes = interface.shapes.get(signature, {})
    if shapes and shapes.keys() != inputs.keys():
        raise ClientError(
            f"inputs of {signature} must be {', '.join(sorted(shapes))}, received {', '.join(sorted(inputs))}."
        )
    for name, wanted in shapes.items():
        received = inputs[name].shape
        equal = len(received) == len(wanted) and all(
            size in (-1, got) for size, got in zip(wanted, received, strict=True)
        )
        if not equal:
            told = ["any" if size == -1 else size for size in wanted]
            raise ClientError(f"{name} of {signature} must have the shape {_list(told)}, received {list(received)}.")
    tasks = {array.shape[0] for array in inputs.values()}
    if len(tasks) != 1 or tasks == {0}:
        raise ClientError(
            "a request must contain at least 1 task and the same number of tasks in each input, received "
            f"{sorted(tasks)}."
        )


def of_bucket(signature: str) -> bool:
    """Whether this is a signature of fixed sizes."""
    return _FIXED.fullmatch(signature) is not None


def _buckets(interface: Interface, signature: str, support: str, query: str) -> list[_Bucket]:
    found = []
    for name, shapes in interface.shapes.items():
        match = _FIXED.fullmatch(name)
        if match and match[1] == _PADDED.get(signature):
            sizes = {part: shape[1] for part, shape in shapes.items() if part in (support, query)}
            found.append(_Bucket(sizes.get(support, 0), sizes.get(query, 0), name))
    return found


def _smallest(buckets: Sequence[_Bucket], support: int, query: int, split: bool) -> _Bucket:
    """The bucket of the least padding; if queries may be split, that of the most queries."""
    of_support = [bucket for bucket in buckets if bucket.support >= support]
    if not of_support:
        most = max(bucket.support for bucket in buckets)
        raise ClientError(
            f"support examples must be at most {most}, the largest shape bucket of the model, received {support}: "
            f"send fewer, {_REMEDY}."
        )
    fitting = [bucket for bucket in of_support if bucket.query >= query]
    if fitting:
        return min(fitting, key=lambda bucket: (bucket.support + bucket.query, bucket))
    most = max(bucket.query for bucket in of_support)
    if not split:
        raise ClientError(
            f"queries must be at most {most}, the largest shape bucket of the model, received {query}: send fewer, set "
            "split_queries if the model card says that a prediction does not depend on the other queries, or "
            f"{_REMEDY}."
        )
    return min(bucket for bucket in of_support if bucket.query == most)


def _padded(array: np.ndarray, size: int) -> np.ndarray:
    """Rows of zeros, or of empty files, behind the examples of axis 1."""
    missing = (array.shape[0], size - array.shape[1], *array.shape[2:])
    padding = np.full(missing, b"", object) if array.dtype == object else np.zeros(missing, array.dtype)
    return np.concatenate([array, padding], axis=1)


def _list(entries: Sequence[object]) -> str:
    return f"[{', '.join(map(str, entries))}]"

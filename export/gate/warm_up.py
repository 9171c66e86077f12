"""The requests that warm a server up and that the parity gate replays: one for each signature and shape bucket."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import tensorflow as tf

from export.gate.reference import Reference
from export.graph.bounds import ADAPT_BOUNDED, RATE, STEPS, WHOLE_BOUNDED, own_rate
from export.graph.buckets import BucketSignature, bucket_signatures
from export.graph.compact import ADAPT_COMPACT, PREDICT_COMPACT
from export.graph.compact import BYTES as COMPACT_BYTES
from export.graph.exportable import Exportable
from export.graph.specifications import (
    ADAPT,
    ADAPT_PADDED,
    BYTES,
    BYTES_PADDED,
    DEFAULT,
    INITIAL,
    PADDED,
    PREDICT,
    PREDICT_PADDED,
    input_specifications,
)
from export.requests.files import Request
from export.requests.form import Arrays, Bucket

_SEED = 20240604


def shape_buckets(classes: int, shots: int, queries: int) -> list[Bucket]:
    """The shots of training and a single one, each with all queries of an evaluation and with a single one.

    Args:
      classes: the ways; 1 for regression.
      shots: support examples a class in training.
      queries: query examples a class in evaluation.
    """
    supports = sorted({classes, classes * shots} if classes > 1 else {shots})
    return [Bucket(support, query) for support in supports for query in sorted({1, classes * queries})]


def warm_up_requests(model: Exportable, buckets: Sequence[Bucket], reference: Reference) -> list[Request]:
    """One request of one task for each signature and bucket, with inputs drawn from the value range of training.

    Args:
      model: what is served.
      buckets: the shapes of training; signatures of a bucket of the model's own are asked in theirs.
      reference: answers of the library.
    """
    generator = np.random.default_rng(_SEED)
    requests = [request for bucket in buckets for request in _requests(model, bucket, reference, generator)]
    named = bucket_signatures(model)
    found: dict[str, Request] = {}
    for bucket in model.buckets:
        for request in _requests(model, bucket, reference, generator):
            found |= {of_bucket.signature: of_bucket for of_bucket in _of_buckets(request, named, bucket)}
    return [*requests, *found.values()]


def _of_buckets(request: Request, named: Mapping[str, BucketSignature], bucket: Bucket) -> Iterator[Request]:
    """The same request to the signatures of its bucket."""
    bases = {PADDED: PADDED, BYTES: BYTES_PADDED, ADAPT: ADAPT_PADDED, PREDICT: PREDICT_PADDED}
    sizes = {"support_size": np.array([bucket.support], np.int32), "query_size": np.array([bucket.query], np.int32)}
    left_out = {ADAPT_PADDED: "query_size", PREDICT_PADDED: "support_size"}
    for name, (base, shape) in named.items():
        if base != bases.get(request.signature):
            continue
        if all(request.inputs[key].shape[1] == size for key, size in shape.items()):
            wanted = {key: size for key, size in sizes.items() if key != left_out.get(base)}
            yield Request(name, {**request.inputs, **wanted})


def _requests(model: Exportable, bucket: Bucket, reference: Reference, generator: np.random.Generator) -> list[Request]:
    form, drawn = model.form, model.form.drawn(bucket, generator)
    context = {name: drawn[name] for name in form.context}
    support = {**context, form.support: drawn[form.support]}
    support[model.target_name] = _targets(model, bucket.support, generator)
    query = {form.query: drawn[form.query]}
    sizes = {"support_size": np.array([bucket.support], np.int32), "query_size": np.array([bucket.query], np.int32)}
    for name, of in zip(form.context_sizes, context.values(), strict=True):
        sizes[name] = np.array([of.shape[1]], np.int32)
    signatures = input_specifications(model)
    requests = [Request(DEFAULT, {**support, **query}), Request(PADDED, {**support, **query, **sizes})]
    if ADAPT in signatures:
        requests.append(Request(ADAPT, support))
    if INITIAL in signatures:
        requests.append(Request(INITIAL, support))
    if PREDICT in signatures:
        adapted = reference.answer(Request(ADAPT, support))
        state = {name: array for name, array in adapted.items() if name in signatures[PREDICT]}
        requests.append(Request(PREDICT, {**state, **context, **query}))
    requests += _of_bounds(model, support, query)
    if model.compact is not None:
        adapted = reference.answer(Request(ADAPT_COMPACT, support))
        state = {name: array for name, array in adapted.items() if name in signatures[PREDICT_COMPACT]}
        state[COMPACT_BYTES] = np.array([state[COMPACT_BYTES].tobytes()], object)
        requests += [Request(ADAPT_COMPACT, support), Request(PREDICT_COMPACT, {**state, **context, **query})]
    if BYTES in signatures:
        files = {"support_inputs_bytes": support["support_inputs"], "query_inputs_bytes": query["query_inputs"]}
        encoded = {name: _encoded(images) for name, images in files.items()}
        requests.append(Request(BYTES, {**encoded, model.target_name: support[model.target_name]}))
    return requests


def _of_bounds(model: Exportable, support: Arrays, query: Arrays) -> list[Request]:
    """The steps of training, and as many as may be asked for, at the lowest rate."""
    bounds = model.bounds
    if bounds is None:
        return []
    own, most = (
        {STEPS: np.array([steps], np.int32), RATE: np.array([rate], np.float32)}
        for steps, rate in ((model.rule.steps, own_rate(model.rule)), (bounds.most_steps, bounds.limits[0]))
    )
    return [Request(WHOLE_BOUNDED, {**support, **query, **own}), Request(ADAPT_BOUNDED, {**support, **most})]


def _targets(model: Exportable, examples: int, generator: np.random.Generator) -> np.ndarray:
    if model.classification:
        return (np.arange(examples, dtype=np.int32) % model.problem.outputs)[None]
    return generator.standard_normal((1, examples, model.problem.outputs)).astype(np.float32)


def _encoded(images: np.ndarray) -> np.ndarray:
    """PNG files of images `[tasks, examples, height, width, channels]` in [0, 1], objects `[tasks, examples]`."""
    flat = np.round(images.reshape(-1, *images.shape[2:]) * 255).astype(np.uint8)
    files = np.empty(len(flat), object)
    files[:] = [tf.io.encode_png(image).numpy() for image in flat]
    return files.reshape(images.shape[:2])

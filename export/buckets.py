"""Shape buckets: signatures of fixed sizes, for servers that join the requests of many clients.

TensorFlow Serving's batching joins requests to one signature on axis 0, and fails all of them if another axis differs.
So requests of all sizes are padded to a few shapes. Each shape has a signature, and so a queue, of its own:
`adapt_and_predict_padded_25_75` takes 25 support examples and 75 queries, `adapt_padded_25` and `predict_padded_75` the
halves of it, `adapt_and_predict_bytes_padded_25_75` image files. How much of it is no padding, sizes tell.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from export.errors import ExportError
from export.exportable import Exportable
from export.request_form import Bucket

PADDED = "adapt_and_predict_padded"
ADAPT_PADDED, PREDICT_PADDED, BYTES_PADDED = "adapt_padded", "predict_padded", "adapt_and_predict_bytes_padded"
_WRITTEN = re.compile(r"([1-9][0-9]*)_([1-9][0-9]*)")


class BucketSignature(NamedTuple):
    """A signature of fixed sizes.

    Attributes:
      base: the padded signature, of any size, that it is a case of.
      sizes: by the name of an input: how many examples it takes.
    """

    base: str
    sizes: dict[str, int]


def bucket_signatures(model: Exportable) -> dict[str, BucketSignature]:
    """By name; none for models without buckets."""
    support, target, query = model.form.support, model.target_name, model.form.query
    found = {}
    for bucket in model.buckets:
        first = {support: bucket.support, target: bucket.support}
        second = {query: bucket.query}
        found[f"{PADDED}_{bucket.support}_{bucket.query}"] = BucketSignature(PADDED, first | second)
        found[f"{ADAPT_PADDED}_{bucket.support}"] = BucketSignature(ADAPT_PADDED, first)
        found[f"{PREDICT_PADDED}_{bucket.query}"] = BucketSignature(PREDICT_PADDED, second)
        if model.takes_images:
            files = {f"{support}_bytes": bucket.support, target: bucket.support, f"{query}_bytes": bucket.query}
            name = f"{BYTES_PADDED}_{bucket.support}_{bucket.query}"
            found[name] = BucketSignature(BYTES_PADDED, files)
    return found


def base_of(model: Exportable, signature: str) -> str:
    """The padded signature of any size of which this one is a bucket; itself for all others."""
    of_bucket = bucket_signatures(model).get(signature)
    return of_bucket.base if of_bucket else signature


def read_buckets(written: Iterable[str]) -> tuple[Bucket, ...]:
    """Buckets as a flag holds them, `25_75` each: support examples and queries of one task, all classes together.

    Raises:
      ExportError: for anything else.
    """
    matches = {text: _WRITTEN.fullmatch(text) for text in written}
    wrong = [text for text, match in matches.items() if match is None]
    if wrong:
        raise ExportError(f"write a bucket as SUPPORT_QUERIES, both 1 or more, such as 25_75; received {wrong[0]!r}.")
    return tuple(Bucket(int(match[1]), int(match[2])) for match in matches.values() if match)


def check_buckets(buckets: Sequence[Bucket]) -> None:
    """Raises ExportError unless sizes are positive and no bucket is there twice."""
    for bucket in buckets:
        if min(bucket) < 1 or list(buckets).count(bucket) > 1:
            raise ExportError(
                f"buckets must differ and hold 1 or more support examples and queries, received {tuple(bucket)}."
            )

"""Shape buckets: signatures of fixed sizes, for servers that join the requests of many clients.

TensorFlow Serving's batching joins requests to one signature on axis 0, and fails all of them if another axis differs.
So requests of all sizes are padded to a few shapes. Each shape has a signature, and so a queue, of its own:
`adapt_and_predict_padded_25_75` takes 25 support examples and 75 queries, `adapt_padded_25` and `predict_padded_75` the
halves of it, `adapt_and_predict_bytes_padded_25_75` image files. How much of it is no padding, sizes tell. What an
export allows its clients, `Service`, says whether there are buckets, and how many rows a task may have.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from cml_tf.system.files import write_text
from export.errors import ExportError
from export.graph.bounds import Bounds
from export.graph.exportable import Exportable, Limits
from export.requests.form import Bucket

PADDED = "adapt_and_predict_padded"
ADAPT_PADDED, PREDICT_PADDED, BYTES_PADDED = "adapt_padded", "predict_padded", "adapt_and_predict_bytes_padded"
_WRITTEN = re.compile(r"([1-9][0-9]*)_([1-9][0-9]*)")
# The name that TensorFlow Serving looks for with --enable_per_model_batching_parameters.
PARAMETERS = "batching_params.pbtxt"
# The same values as in export/deploy/batching_parameters.txt.
PARAMETERS_TEXT = """\
# Read by tensorflow_model_server --enable_batching=true --enable_per_model_batching_parameters=true.
max_batch_size { value: 16 }
batch_timeout_micros { value: 2000 }
max_enqueued_batches { value: 64 }
num_batch_threads { value: 2 }
"""
# By default a task may hold as many values as 1,337 images of 28x28, whose adaptation takes about a gigabyte.
_VALUES = 2**20
# Nor are more than these refused whose examples are small: nobody calls them few.
_TIMES_TRAINED = 4
# Where there may be any number of queries, so many times more of them may be files, which are all decoded at once.
_TIMES_IN_FILES = 16


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
        if model.packs:
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
        raise ExportError(f"a bucket must be SUPPORT_QUERIES, both at least 1, such as 25_75, received {wrong[0]!r}.")
    return tuple(Bucket(int(match[1]), int(match[2])) for match in matches.values() if match)


def check_buckets(buckets: Sequence[Bucket]) -> None:
    """Raises ExportError unless sizes are positive and no bucket is there twice."""
    for bucket in buckets:
        if min(bucket) < 1 or list(buckets).count(bucket) > 1:
            raise ExportError(
                f"buckets must be different, with at least 1 support example and query each, received {tuple(bucket)}."
            )


@dataclass(frozen=True)
class Service:
    """What an export allows.

    Attributes:
      batching: whether a server may join requests: the export gets shape buckets and batching parameters of its own.
      buckets: the shapes; by default those of training (`export.gate.warm_up.shape_buckets`).
      most_support: support examples a task; by default what 2**20 input values are, or 4 times those of training.
      most_queries: queries a task; likewise, and any number where answers do not depend on the other queries.
      bounds: what requests may set of adaptation; None for nothing.
      state: `float16` or `int8` to offer compact states of that kind besides.
    """

    batching: bool = False
    buckets: tuple[Bucket, ...] = ()
    most_support: int | None = None
    most_queries: int | None = None
    bounds: Bounds | None = None
    state: str = "float32"

    def __post_init__(self) -> None:
        if self.batching and (self.bounds is not None or self.state != "float32"):
            raise ExportError(
                "batching and bounds or compact states cannot be combined, since these have no shape buckets: use only "
                "one of them."
            )
        if self.buckets and not self.batching:
            raise ExportError("buckets need batching: pass batching too, or leave out buckets.")
        check_buckets(self.buckets)

    def with_signatures(self, model: Exportable, trained: Sequence[Bucket]) -> Exportable:
        """The model with its shape buckets, bounds and compact states; `trained` are the shapes of training.

        Raises:
          ExportError: if requests to it cannot be joined, or it cannot have such bounds or states.
        """
        if self.batching and model.form.context:
            raise ExportError(
                "requests to a model on nodes cannot be batched, since their graphs differ in size: export it "
                "without batching."
            )
        buckets = (self.buckets or tuple(trained)) if self.batching else ()
        return dataclasses.replace(model, buckets=buckets, bounds=self.bounds, state=self.state)

    def with_limits(self, model: Exportable, trained: Sequence[Bucket], independent_queries: bool) -> Exportable:
        """The model, which has its buckets, with the most that a task may hold.

        Args:
          model: what is served.
          trained: the shapes of training, which must be allowed.
          independent_queries: whether its answers do not depend on the other queries of the task.

        Raises:
          ExportError: if a limit is below what training or a bucket has.
        """
        shapes = (*trained, *model.buckets)
        support = _limit("most_support", self.most_support, max(shape.support for shape in shapes), model)
        queries = _limit("most_queries", self.most_queries, max(shape.query for shape in shapes), model)
        # A model on nodes looks at its whole graph for each block.
        blocks = independent_queries and not model.form.context
        if blocks and self.most_queries is None:
            # Block by block, more of them take no more memory.
            limits = Limits(support, None, _TIMES_IN_FILES * queries)
            return dataclasses.replace(model, limits=limits, query_blocks=True)
        return dataclasses.replace(model, limits=Limits(support, queries, queries), query_blocks=blocks)

    def write(self, directory: Path) -> None:
        """Writes the batching parameters into a version, if it has any."""
        if self.batching:
            write_text(directory / PARAMETERS, PARAMETERS_TEXT)


def _limit(name: str, given: int | None, needed: int, model: Exportable) -> int:
    if given is None:
        return max(_TIMES_TRAINED * needed, _VALUES // max(1, math.prod(model.input_shape)))
    if given < needed:
        raise ExportError(f"{name} must be at least {needed}, the number in training or in a bucket, received {given}.")
    return given

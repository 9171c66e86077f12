"""What an export allows its clients: how many rows a task may have, and whether a server may join their requests."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cml_tf.files import write_text
from export.buckets import check_buckets
from export.errors import ExportError
from export.exportable import Exportable, Limits
from export.request_form import Bucket

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


@dataclass(frozen=True)
class Service:
    """What an export allows.

    Attributes:
      batching: whether a server may join requests: the export gets shape buckets and batching parameters of its own.
      buckets: the shapes; by default those of training (`export.warm_up.shape_buckets`).
      most_support: support examples a task; by default what 2**20 input values are, or 4 times those of training.
      most_queries: queries a task; likewise, and any number where answers do not depend on the other queries.
    """

    batching: bool = False
    buckets: tuple[Bucket, ...] = ()
    most_support: int | None = None
    most_queries: int | None = None

    def __post_init__(self) -> None:
        if self.buckets and not self.batching:
            raise ExportError("buckets are for servers that join requests: ask for batching too, or leave them out.")
        check_buckets(self.buckets)

    def with_buckets(self, model: Exportable, trained: Sequence[Bucket]) -> Exportable:
        """The model with its shape buckets; `trained` are the shapes of training.

        Raises:
          ExportError: if requests to it cannot be joined.
        """
        if self.batching and model.form.context:
            raise ExportError(
                "requests to a model on nodes cannot be joined, since each brings a graph of its own size: export it "
                "without batching."
            )
        return dataclasses.replace(model, buckets=(self.buckets or tuple(trained)) if self.batching else ())

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
            return dataclasses.replace(model, limits=Limits(support, None), query_blocks=True)
        return dataclasses.replace(model, limits=Limits(support, queries), query_blocks=blocks)

    def write(self, directory: Path) -> None:
        """Writes the batching parameters into a version, if it has any."""
        if self.batching:
            write_text(directory / PARAMETERS, PARAMETERS_TEXT)


def _limit(name: str, given: int | None, needed: int, model: Exportable) -> int:
    if given is None:
        return max(_TIMES_TRAINED * needed, _VALUES // max(1, math.prod(model.input_shape)))
    if given < needed:
        raise ExportError(f"{name} must be {needed} or more, which training or a bucket has; received {given}.")
    return given

"""What both protocols share: finding the version, running on a worker, counting."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

from tensorflow_serving.apis import get_model_metadata_pb2, model_pb2

from export.server.catalogue import Catalogue
from export.server.errors import ServingError
from export.server.metrics import Metrics
from export.server.servable import Servable
from export.server.workers import Workers

_Answer = TypeVar("_Answer")


@dataclass(frozen=True)
class Calls:
    """The server behind its protocols.

    Attributes:
      catalogue: of models.
      workers: that answer.
      metrics: that count.
      timeout: seconds that a request may take, waiting included.
      largest: bytes of a request, and of each of its inputs once unpacked.
    """

    catalogue: Catalogue
    workers: Workers
    metrics: Metrics
    timeout: float
    largest: int

    async def predict(
        self, spec: model_pb2.ModelSpec, answer: Callable[[Servable, float], _Answer], timeout: float | None = None
    ) -> tuple[int, _Answer]:
        """Runs `answer(servable, seconds left)` with the version that `spec` asks for, and tells which that was.

        Raises:
          ServingError: if there is none, and whatever comes from `answer` and the workers.
        """
        number, version = self.catalogue.table.select(spec)
        limit = self.timeout if timeout is None else min(timeout, self.timeout)
        return number, await self.workers.run(version, answer, limit)

    def metadata(self, spec: model_pb2.ModelSpec) -> tuple[int, get_model_metadata_pb2.SignatureDefMap]:
        """The signatures of the version that `spec` asks for.

        Raises:
          ServingError: if there is none.
        """
        number, version = self.catalogue.table.select(spec)
        signatures = get_model_metadata_pb2.SignatureDefMap()
        if version.servable is not None:
            for name, definition in version.servable.signatures.items():
                signatures.signature_def[name].CopyFrom(definition)
        return number, signatures

    @contextmanager
    def counted(self, model: str, api: str, entrypoint: str) -> Iterator[None]:
        """Counts what happens inside."""
        start = time.monotonic()
        status = "CANCELLED"
        try:
            yield
            status = "OK"
        except ServingError as error:
            status = error.code
            raise
        except Exception:
            status = "INTERNAL"
            raise
        finally:
            known = model if model in self.catalogue.table.versions else ""
            self.metrics.record(known, api, entrypoint, status, time.monotonic() - start)

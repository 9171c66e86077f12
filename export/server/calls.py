"""What both protocols share: finding the version, running on a worker, counting.

When Python looks for cyclic garbage: after versions change, not while requests are answered.

Counters in Prometheus' text form, under TensorFlow Serving's names.

How many requests run at once and how many may wait; more are refused at once, which is kinder than late.
"""

from __future__ import annotations

import asyncio
import json
import time
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

from tensorflow_serving.apis import get_model_metadata_pb2, model_pb2

from export.server.catalogue import Catalogue
from export.server.errors import ServingError, deadline_exceeded
from export.server.servable import Servable
from export.server.versions_table import Version

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


COUNT = ":tensorflow:serving:request_count"
LATENCY = ":tensorflow:serving:request_latency"
# Microseconds.
_BOUNDS = [10 * 1.8**step for step in range(33)]

Labels = tuple[tuple[str, str], ...]


class Metrics:
    """How many requests there were and how long they took; used on one thread only."""

    def __init__(self) -> None:
        self._counts: Counter[Labels] = Counter()
        self._buckets: dict[Labels, list[int]] = defaultdict(lambda: [0] * (len(_BOUNDS) + 1))
        self._sums: Counter[Labels] = Counter()

    def record(self, model: str, api: str, entrypoint: str, status: str, seconds: float) -> None:
        """Counts one request.

        Args:
          model: name; of models that are not served, leave it empty: anybody could invent names without end.
          api: the call, such as `predict`.
          entrypoint: `GRPC` or `REST`.
          status: name of a gRPC status.
          seconds: from its arrival to the answer.
        """
        self._counts[(("model_name", model), ("status", status))] += 1
        labels = (("model_name", model), ("API", api), ("entrypoint", entrypoint))
        microseconds = seconds * 1e6
        self._buckets[labels][bisect_left(_BOUNDS, microseconds)] += 1
        self._sums[labels] += round(microseconds)

    def text(self) -> str:
        """The page that Prometheus reads."""
        lines = [f"# TYPE {COUNT} counter"]
        lines += [f"{COUNT}{_labels(labels)} {count}" for labels, count in self._counts.items()]
        lines.append(f"# TYPE {LATENCY} histogram")
        for labels, buckets in self._buckets.items():
            total = 0
            for bound, count in zip([*(f"{bound:g}" for bound in _BOUNDS), "+Inf"], buckets, strict=True):
                total += count
                lines.append(f"{LATENCY}_bucket{_labels((*labels, ('le', bound)))} {total}")
            lines.append(f"{LATENCY}_sum{_labels(labels)} {self._sums[labels]}")
            lines.append(f"{LATENCY}_count{_labels(labels)} {total}")
        return "\n".join(lines) + "\n"


def _labels(labels: Labels) -> str:
    return "{" + ",".join(f"{name}={json.dumps(value)}" for name, value in labels) + "}"


class Workers:
    """Threads that answer requests.

    Args:
      concurrent: requests that run at once.
      queued: requests that may wait for their turn.
    """

    def __init__(self, concurrent: int, queued: int) -> None:
        self._concurrent = concurrent
        self._queued = queued
        self._turns = asyncio.Semaphore(concurrent)
        self._present = 0
        self._pool = ThreadPoolExecutor(concurrent, "request")

    async def run(self, version: Version, answer: Callable[[Servable, float], _Answer], timeout: float) -> _Answer:
        """Runs `answer(servable, seconds left)` on a thread; the version stays loaded meanwhile.

        Raises:
          ServingError: whatever `answer` raises; RESOURCE_EXHAUSTED if the queue is full; DEADLINE_EXCEEDED if the turn
            did not come in time.
        """
        if self._present >= self._concurrent + self._queued:
            raise ServingError(
                "RESOURCE_EXHAUSTED",
                f"the server answers {self._concurrent} requests at once and lets {self._queued} wait, and is full. "
                "Try again later, or start it with larger --max_concurrent_requests and --max_queued_requests.",
            )
        end = time.monotonic() + timeout
        self._present += 1
        version.acquire()
        try:
            await asyncio.wait_for(self._turns.acquire(), timeout)
        except BaseException as error:
            self._leave(version)
            if isinstance(error, TimeoutError):
                raise deadline_exceeded() from error
            raise
        loop = asyncio.get_running_loop()

        def ended(_: Future[_Answer]) -> None:
            # Not before the thread is done, also when the client has gone away meanwhile.
            loop.call_soon_threadsafe(self._end, version)

        future = self._pool.submit(_in_time, answer, version, end)
        future.add_done_callback(ended)
        return await asyncio.wrap_future(future)

    def _end(self, version: Version) -> None:
        self._turns.release()
        self._leave(version)

    def _leave(self, version: Version) -> None:
        self._present -= 1
        version.release()

    def close(self) -> None:
        """Ends the threads; no request may be running."""
        self._pool.shutdown()


def _in_time(answer: Callable[[Servable, float], _Answer], version: Version, end: float) -> _Answer:
    left = end - time.monotonic()
    if left <= 0:
        raise deadline_exceeded()
    if version.servable is None:
        raise RuntimeError("a version was unloaded while a request was using it.")
    return answer(version.servable, left)

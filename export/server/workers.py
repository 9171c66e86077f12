"""How many requests run at once and how many may wait; more are refused at once, which is kinder than late."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from export.server.errors import ServingError, deadline_exceeded
from export.server.servable import Servable
from export.server.versions_table import Version

_Answer = TypeVar("_Answer")


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
                f"the server is full: {self._concurrent} requests are running and {self._queued} are waiting. "
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

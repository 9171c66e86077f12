"""Clients that ask without end, while something happens to the server."""

from __future__ import annotations

import http.client
import itertools
import threading
import time
from collections.abc import Callable

import grpc

_PATIENCE = 120
Ask = Callable[[int, int], tuple[bool, object]]


class Askers:
    """They try again when they get no answer.

    Args:
      ask: from the number of the client and its turn to whether the answer was right, and what it was.
      clients: how many.

    Attributes:
      answers: right ones of each client.
      refusals: errors of connections, which a client may try again after.
      wrong: everything else.
    """

    def __init__(self, ask: Ask, clients: int) -> None:
        self.answers = [0] * clients
        self.refusals = [0] * clients
        self.wrong: list[object] = []
        self._ask = ask
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._work, args=(number,)) for number in range(clients)]

    def __enter__(self) -> Askers:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(_PATIENCE)

    def wait_for_answers(self, more: int) -> None:
        """Returns when each client got so many more."""
        self._wait(self.answers, more)

    def wait_for_refusals(self) -> None:
        """Returns when each client was refused once more."""
        self._wait(self.refusals, 1)

    def _wait(self, counts: list[int], more: int) -> None:
        before, end = list(counts), time.monotonic() + _PATIENCE
        while not all(now >= then + more for now, then in zip(counts, before, strict=True)):
            assert time.monotonic() < end, f"{self.answers} answers, {self.refusals} refusals, wrong: {self.wrong[:3]}"
            time.sleep(0.01)

    def _work(self, number: int) -> None:
        for turn in itertools.count():
            if self._stop.is_set():
                return
            try:
                right, seen = self._ask(number, turn)
            # A server that dies between the head and the body of an answer leaves half of one.
            except (OSError, http.client.IncompleteRead, grpc.RpcError) as error:
                lost = not isinstance(error, grpc.RpcError) or error.code() == grpc.StatusCode.UNAVAILABLE
                self.refusals[number] += lost
                self.wrong += [] if lost else [repr(error)]
                self._stop.wait(0.02)  # As a client does before it tries again.
                continue
            self.answers[number] += right
            self.wrong += [] if right else [seen]

"""Clients that ask without end, while something happens to the server."""

import http.client
import itertools
import threading
import time

import grpc

_PATIENCE = 120


class Askers:
    """`ask(client, turn)` gives whether the answer was right and what it was; without an answer it is asked again.

    `answers` and `refusals` (errors of connections) count for each client; `wrong` holds everything else.
    """

    def __init__(self, ask, clients: int) -> None:
        self.answers, self.refusals, self.wrong = [0] * clients, [0] * clients, []
        self._ask, self._stop = ask, threading.Event()
        self._threads = [threading.Thread(target=self._work, args=(number,)) for number in range(clients)]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(_PATIENCE)

    def wait_for(self, counts: list[int], more: int = 1) -> None:
        """Returns when each client has so many more answers, or refusals."""
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
            except (OSError, http.client.HTTPException, grpc.RpcError) as error:
                lost = not isinstance(error, grpc.RpcError) or error.code() == grpc.StatusCode.UNAVAILABLE
                self.refusals[number] += lost
                self.wrong += [] if lost else [repr(error)]
                self._stop.wait(0.02)  # As a client does before it tries again.
                continue
            self.answers[number] += right
            self.wrong += [] if right else [seen]

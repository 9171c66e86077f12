"""Processes that take turns, so that whatever the machine does meanwhile happens to all of them."""

from __future__ import annotations

import contextlib
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.performance.work import Work, to_json

ROOT = Path(__file__).resolve().parents[2]
PEER_PYTHON = ROOT / "build" / "peer-venv" / "bin" / "python"
# OpenMP's threads go on spinning for 0.2 s after their work, in case there is more, and take the next one's processors.
_SETTLED_AFTER = 0.3


class ContestantError(Exception):
    """A contestant ended, or said what cannot be read."""


class Contestant:
    """A process that builds something, then does it once each time it is asked (`benchmarks.performance.child`).

    Args:
      name: for messages.
      command: starts it.
      variables: of the environment, beside those of this process.
    """

    def __init__(self, name: str, command: Sequence[str], variables: Mapping[str, str] | None = None) -> None:
        self.name = name
        self.first_seconds = 0.0
        environment = {"TF_CPP_MIN_LOG_LEVEL": "3", **os.environ, **(variables or {})}
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=environment
        )

    def ready(self) -> dict[str, Any]:
        """Waits until it is built; call it before others are started, since building takes all cores."""
        answer = self._answer()
        self.first_seconds = float(answer["first_seconds"])
        return answer

    def ask(self, request: str) -> dict[str, Any]:
        """Its answer to one request."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(request + "\n")
            self._process.stdin.flush()
        except BrokenPipeError as error:
            raise ContestantError(f"{self.name} ended before the request {request!r}.") from error
        return self._answer()

    def close(self) -> None:
        """Ends the process."""
        assert self._process.stdin is not None and self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise ContestantError(f"{self.name} ended with code {self._process.wait()} instead of answering.")
        try:
            answer = json.loads(line)
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            raise ContestantError(f"{self.name} must answer with one JSON object per line, received {line[:200]!r}.")
        return answer


class Spread(NamedTuple):
    """Seconds over repeated runs."""

    median: float
    minimum: float
    maximum: float
    runs: int


def spread(seconds: Sequence[float]) -> Spread:
    """Median and extremes."""
    return Spread(statistics.median(seconds), min(seconds), max(seconds), len(seconds))


def take_turns(
    contestants: Mapping[str, Contestant], rounds: int, pause: float = _SETTLED_AFTER
) -> dict[str, list[float]]:
    """Seconds of each contestant's steps, `rounds` each, in turns with `pause` seconds between them."""
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, contestant in contestants.items():
            time.sleep(pause)
            times[name].append(contestant.ask("step")["seconds"])
    return times


@contextlib.contextmanager
def running(contestant: Contestant) -> Iterator[Contestant]:
    """The contestant, built; it ends with the block."""
    try:
        contestant.ready()
        yield contestant
    finally:
        contestant.close()


def ours(work: Work, name: str = "ours", variables: Mapping[str, str] | None = None) -> Contestant:
    """Our meta-step."""
    return Contestant(name, [sys.executable, "-m", "benchmarks.performance.child", "step", to_json(work)], variables)


def configured(source: str, settings: Mapping[str, Any]) -> Contestant:
    """The meta-step of a configuration file with words after a colon, and values by dotted key on top of it."""
    module = "benchmarks.performance.child"
    return Contestant(source, [sys.executable, "-m", module, "configured", source, json.dumps(dict(settings))])


def exported(work: Work, directory: Path, name: str) -> Contestant:
    """Our exported model."""
    command = [sys.executable, "-m", "benchmarks.performance.child", "exported", to_json(work), str(directory)]
    return Contestant(name, command)


def peer(work: Work, backward: str) -> Contestant:
    """The meta-step in PyTorch.

    Raises:
      ContestantError: if its environment has not been made.
    """
    if not PEER_PYTHON.is_file():
        raise ContestantError("the peer has no environment: run `make benchmark`, which creates build/peer-venv.")
    module = "benchmarks.peers.torch_nodes" if work.nodes else "benchmarks.peers.torch_cml"
    command = [str(PEER_PYTHON), "-m", module, to_json(work), f"--backward={backward}"]
    return Contestant(f"PyTorch, {backward}", command)

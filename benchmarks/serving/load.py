"""Many clients at once, every answer checked against the one that the same question got alone."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from benchmarks.serving.clients import Client, GrpcClient, RestClient, ask, differences
from benchmarks.serving.memory import Sample
from benchmarks.serving.questions import Arrays, Question
from benchmarks.serving.server_process import Target

_SAMPLE_SECONDS = 0.5
_SAMPLES_TO_WATCH = 120
_MOST_ERRORS = 100


class Answered(NamedTuple):
    """One question that was answered as it should be.

    Attributes:
      protocol: `gRPC` or `REST`.
      kind: of the question, with the model.
      seconds: that it took, encoding and decoding included.
      tasks: in it.
    """

    protocol: str
    kind: str
    seconds: float
    tasks: int


@dataclass
class Load:
    """What came of it.

    Attributes:
      answered: every right answer.
      errors: every other, in words.
      memory: of the server, over time.
      seconds: that it took.
    """

    answered: list[Answered] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    memory: list[Sample] = field(default_factory=list)
    seconds: float = 0.0


def alone(target: Target, questions: Sequence[Question]) -> list[Arrays]:
    """The answer to each question, one after the other, over gRPC."""
    client = GrpcClient(target.grpc)
    try:
        return [ask(client, question) for question in questions]
    finally:
        client.close()


def load(
    target: Target,
    questions: Sequence[Question],
    expected: Sequence[Arrays],
    clients: int,
    seconds: float,
    pause: float = 0.0,
    watch: Callable[[Load], object] = lambda done: None,
) -> Load:
    """Lets clients ask for a time, half of them over gRPC and half over REST, each in an order of its own.

    Args:
      target: the server.
      questions: that are asked, again and again.
      expected: their answers, which must come back bit for bit.
      clients: threads with a connection each.
      seconds: after which no more questions are asked.
      pause: seconds that a client waits after each answer.
      watch: called about once a minute with what came of it so far.
    """
    result, lock = Load(), threading.Lock()
    start = time.monotonic()
    end = start + seconds

    def work(number: int) -> None:
        rest = number % 2 == 1
        client: Client = RestClient(target.rest) if rest else GrpcClient(target.grpc)
        try:
            turn = number * len(questions) // clients
            while time.monotonic() < end and len(result.errors) < _MOST_ERRORS:
                position = turn % len(questions)
                outcome = _one(client, "REST" if rest else "gRPC", questions[position], expected[position])
                with lock:
                    (result.answered if isinstance(outcome, Answered) else result.errors).append(outcome)  # type: ignore[arg-type]
                turn += 1
                time.sleep(pause)
        finally:
            client.close()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    while time.monotonic() < end:
        result.memory.append(Sample(time.monotonic() - start, target.resident_bytes()))
        if not len(result.memory) % _SAMPLES_TO_WATCH:
            result.seconds = result.memory[-1].seconds
            watch(result)
        time.sleep(min(_SAMPLE_SECONDS, max(0.0, end - time.monotonic())))
    for thread in threads:
        thread.join()
    result.seconds = time.monotonic() - start
    return result


def _one(client: Client, protocol: str, question: Question, expected: Arrays) -> Answered | str:
    where = f"{protocol}, {question.model}, {question.kind}"
    start = time.perf_counter()
    try:
        answer = ask(client, question)
    except Exception as error:  # Whatever it is, it is what the run is there to find.
        return f"{where}: {type(error).__name__}: {error}"[:1000]
    seconds = time.perf_counter() - start
    wrong = differences(answer, expected)
    if wrong:
        return f"{where}: {', '.join(wrong)} differ from the answer to the same request alone"
    return Answered(protocol, f"{question.model}: {question.kind}", seconds, question.tasks)

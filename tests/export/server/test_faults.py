"""A server that is killed, and versions that arrive damaged, while clients are asking."""

from __future__ import annotations

import contextlib
import itertools
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest

from export.requests.files import Request, write_requests
from tests.export.served import request
from tests.export.server.running import running
from tests.export.server.tiny_models import halving, write_halver

_PATIENCE = 120


class Askers:
    """Clients that ask without end and try again when they get no answer.

    Attributes:
      answers: right ones of each client.
      refusals: errors of connections, which a client may try again after.
      wrong: everything else.
    """

    def __init__(self, ask, clients: int) -> None:
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
        before = list(self.answers)
        self._wait(lambda: all(now >= then + more for now, then in zip(self.answers, before, strict=True)))

    def wait_for_refusals(self) -> None:
        """Returns when each client was refused once more."""
        before = list(self.refusals)
        self._wait(lambda: all(now > then for now, then in zip(self.refusals, before, strict=True)))

    def _wait(self, reached) -> None:
        end = time.monotonic() + _PATIENCE
        while not reached():
            assert time.monotonic() < end, f"{self.answers} answers, {self.refusals} refusals, wrong: {self.wrong[:3]}"
            time.sleep(0.01)

    def _work(self, number: int) -> None:
        for turn in itertools.count():
            if self._stop.is_set():
                return
            try:
                right, seen = self._ask(number, turn)
            except (OSError, grpc.RpcError) as error:
                lost = not isinstance(error, grpc.RpcError) or error.code() == grpc.StatusCode.UNAVAILABLE
                self.refusals[number] += lost
                self.wrong += [] if lost else [repr(error)]
                self._stop.wait(0.02)  # As a client does before it tries again.
                continue
            self.answers[number] += right
            self.wrong += [] if right else [seen]


@pytest.mark.slow
def test_killed_under_load_and_started_again_on_the_same_ports(tmp_path):
    (tmp_path / "halver").mkdir()
    write_halver(tmp_path / "halver" / "1", 1.0, [halving(1.0)])
    model = f"--model_dir={tmp_path / 'halver'}"
    with contextlib.ExitStack() as stack:
        first = stack.enter_context(running(model, log=tmp_path / "first"))
        ports = [f"--grpc_port={first.grpc_address.rpartition(':')[2]}", f"--rest_port={first.rest_port}"]

        def ask(number: int, turn: int) -> tuple[bool, object]:
            value = float(1000 * number + turn % 1000)
            if number % 2:
                status, body, _ = first.rest("POST", "/v1/models/halver:predict", {"inputs": [value]})
                return (status, body) == (200, {"outputs": [0.5 * value + 1]}), (status, body)
            answer = first.predict("halver", x=np.float32([value]))
            return answer["y"].tolist() == [0.5 * value + 1], answer

        with Askers(ask, 6) as askers:
            askers.wait_for_answers(5)
            first.process.send_signal(signal.SIGKILL)
            first.process.wait(_PATIENCE)
            askers.wait_for_refusals()
            stack.enter_context(running(model, *ports, log=tmp_path / "second"))
            askers.wait_for_answers(20)
        assert not askers.wrong, askers.wrong[:5]


@pytest.fixture(scope="module")
def growing(tmp_path_factory, waves) -> Iterator[tuple[Path, object]]:
    """A model directory with one good version, and its server."""
    directory = tmp_path_factory.mktemp("faults") / "waves"
    shutil.copytree(waves.directory, directory / "1")
    with running(f"--model_dir={directory}", "--poll_seconds=0.05", log=directory.parent / "log") as server:
        yield directory, server


@pytest.mark.parametrize(
    ("version", "file", "message"),
    [
        (11, "saved_model.pb", "saved_model.pb"),
        (12, "variables/variables.index", "not an sstable"),
        (13, "variables/variables.data-00000-of-00001", "Read less bytes"),
        (14, "assets.extra/tf_serving_warmup_requests", "TFRecord format"),
    ],
)
def test_a_version_of_which_a_file_is_cut_off(growing, waves, version, file, message):
    directory, server = growing
    inputs = request(waves.model, tasks=2)
    expected = server.predict("waves", **inputs)

    def ask(number: int, turn: int) -> tuple[bool, object]:
        answer = server.predict("waves", **inputs)
        return all(np.array_equal(answer[name], expected[name]) for name in expected), answer

    draft = directory / f"draft-{version}"
    shutil.copytree(waves.directory, draft)
    content = (draft / file).read_bytes()
    (draft / file).write_bytes(content[: len(content) // 2])
    with Askers(ask, 2) as askers:
        askers.wait_for_answers(1)
        draft.rename(directory / str(version))
        assert message in server.wait_for_state("waves", version, "END")
        askers.wait_for_answers(2)
    assert server.states("waves")[1] == ("AVAILABLE", "")
    assert not askers.wrong and not any(askers.refusals), askers.wrong[:3]


def test_a_version_that_answers_its_warm_up_with_an_error(growing, waves):
    directory, server = growing
    draft = directory / "draft-21"
    shutil.copytree(waves.directory, draft)
    inputs = request(waves.model)
    wrong = Request("serving_default", {**inputs, "query_inputs": inputs["query_inputs"][0]})
    write_requests(draft / "assets.extra" / "tf_serving_warmup_requests", [wrong], "waves")
    draft.rename(directory / "21")
    assert "is not compatible with expected shape" in server.wait_for_state("waves", 21, "END")
    assert server.states("waves")[1] == ("AVAILABLE", "")
    assert server.predict("waves", **inputs)["status"].tolist() == [0]

"""New versions while clients are asking, and versions that cannot be loaded."""

from __future__ import annotations

import threading

import grpc
import numpy as np
import pytest

from export.server.child import ServerFailed
from tests.export.server.running import running
from tests.export.server.tiny_models import halving, write_halver

_ASK = ("POST", "/v1/models/halver:predict", {"instances": [2.0]})


@pytest.fixture(scope="module")
def halver(tmp_path_factory):
    directory = tmp_path_factory.mktemp("reloaded") / "halver"
    directory.mkdir()
    write_halver(directory / "1", 1.0, [halving(1.0)])
    return directory


@pytest.fixture(scope="module")
def reloading(halver):
    with running(f"--model_dir={halver}", "--poll_seconds=0.05", log=halver.parent / "log") as server:
        yield server


def test_no_request_is_dropped_while_a_version_is_replaced(reloading, halver):
    answers = []
    replaced = threading.Event()

    def ask():
        while not replaced.is_set():
            status, body, _ = reloading.rest(*_ASK)
            answers.append((status, body))
            try:
                answers.append((200, {"predictions": reloading.predict("halver", x=np.float32([2.0]))["y"].tolist()}))
            except grpc.RpcError as error:
                answers.append((error.code(), error.details()))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        write_halver(halver / "2", 2.0, [halving(1.0)])
        reloading.wait_for_state("halver", 1, "END")
    finally:
        replaced.set()
        for thread in threads:
            thread.join()
    assert {status for status, _ in answers} == {200}, answers
    assert {body["predictions"][0] for _, body in answers} <= {2.0, 3.0}
    assert reloading.rest(*_ASK)[1] == {"predictions": [3.0]}
    assert reloading.states("halver") == {1: ("END", ""), 2: ("AVAILABLE", "")}


def test_versions_that_cannot_be_loaded_leave_the_old_one_in_place(reloading, halver):
    before = reloading.rest(*_ASK)
    write_halver(halver / "7", 7.0, [halving(1.0)._replace(signature="nope")])
    assert 'Serving signature key "nope" not found' in reloading.wait_for_state("halver", 7, "END")

    (halver / "8").mkdir()
    assert "saved_model.pb" in reloading.wait_for_state("halver", 8, "END")

    write_halver(halver / "draft", 9.0)
    (halver / "draft" / "variables" / "variables.index").unlink()
    (halver / "draft").rename(halver / "9")
    assert reloading.wait_for_state("halver", 9, "END")

    write_halver(halver / "draft", 10.0)
    data = halver / "draft" / "variables" / "variables.data-00000-of-00001"
    data.write_bytes(bytes(byte ^ 1 for byte in data.read_bytes()))
    (halver / "draft").rename(halver / "10")
    assert "Checksum does not match" in reloading.wait_for_state("halver", 10, "END")

    assert reloading.rest(*_ASK)[:2] == before[:2]
    status, body, _ = reloading.rest("POST", "/v1/models/halver/versions/7:predict", {"instances": [2.0]})
    assert (status, body) == (404, {"error": "Servable not found for request: Specific(halver, 7)"})


def test_a_copy_that_is_finished_later_is_loaded_then(reloading, halver):
    write_halver(halver / "draft", 20.0)
    half = halver / "20"
    half.mkdir()
    reloading.wait_for_state("halver", 20, "END")
    (halver / "draft" / "variables").rename(half / "variables")
    (halver / "draft" / "saved_model.pb").rename(half / "saved_model.pb")
    reloading.wait_for_state("halver", 20, "AVAILABLE")
    assert reloading.rest(*_ASK)[1] == {"predictions": [21.0]}


def test_a_directory_whose_only_version_is_broken_is_an_error_at_the_start(tmp_path):
    (tmp_path / "broken" / "1").mkdir(parents=True)
    (tmp_path / "broken" / "1" / "saved_model.pb").write_bytes(b"\xff not a SavedModel")
    with (
        pytest.raises(ServerFailed, match="did not start"),
        running(f"--model_dir={tmp_path / 'broken'}", log=tmp_path / "log"),
    ):
        pass
    assert "version 1 of model broken cannot be loaded" in (tmp_path / "log").read_text()

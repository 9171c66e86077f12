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


def test_the_start_passes_over_what_is_not_whole_and_says_so(tmp_path):
    directory = tmp_path / "halver"
    directory.mkdir()
    write_halver(directory / "1", 1.0, [halving(1.0)])
    write_halver(directory / "2", 2.0)
    (directory / "2" / "variables" / "variables.index").unlink()
    (directory / "3").mkdir()
    (directory / "4").write_text("a file")
    with running(f"--model_dir={directory}", "--poll_seconds=0.05", log=tmp_path / "log") as server:
        assert server.rest(*_ASK)[1] == {"predictions": [2.0]}
        assert {number: state for number, (state, _) in server.states("halver").items()} == {
            1: "AVAILABLE",
            **dict.fromkeys((2, 3, 4), "END"),
        }
        (said,) = [line for line in (tmp_path / "log").read_text().splitlines() if "passed over" in line]
        assert "halver: version 1 is served; passed over: version 2 (" in said and "version 3 (" in said
        write_halver(directory / "draft", 5.0)
        (directory / "draft").rename(directory / "5")
        server.wait_for_state("halver", 1, "END")
        assert server.rest(*_ASK)[1] == {"predictions": [6.0]}


def test_a_place_without_a_version_says_what_a_version_is_called(tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    config = tmp_path / "models.config"
    config.write_text(f'model_config_list {{ config {{ name: "gone" base_path: "{tmp_path}/gone" }} }}')
    for flag, expected in (
        (f"--model_dir={empty}", f"empty: no version is in {empty}: it is empty"),
        (f"--model_config_file={config}", f"gone: no version is in {tmp_path / 'gone'}: there is no such directory"),
    ):
        with running(flag, "--poll_seconds=0.05", log=tmp_path / "log") as server:
            name = expected.partition(":")[0]
            assert server.rest("GET", f"/v1/models/{name}")[0] == 404
            write_halver(tmp_path / name / "1", 1.0)
            server.wait_for_state(name, 1, "AVAILABLE")
        said = [line for line in (tmp_path / "log").read_text().splitlines() if "no version" in line]
        # Once, and once more if it was looked at between the making of the directory and its first version.
        assert len(said) in (1, 2) and expected in said[0] and "such as" in said[0], said

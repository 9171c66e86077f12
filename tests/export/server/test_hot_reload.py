"""New versions, damaged versions and the death of the server, while clients are asking."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from pathlib import Path

import numpy as np
import pytest

from export.server.child import ServerFailed
from tests.export.server.askers import Askers
from tests.export.server.running import running
from tests.export.server.tiny_models import halving, write_halver

_ASK = ("POST", "/v1/models/halver:predict", {"instances": [2.0]})
_DATA = "variables/variables.data-00000-of-00001"
_INDEX, _WARM_UP = "variables/variables.index", "assets.extra/tf_serving_warmup_requests"


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


def _asking(server, *offsets, clients=4):
    """Over both protocols; each answer must be that of a version with one of the offsets."""

    def ask(number, turn):
        value = float(1000 * number + turn % 1000)
        if number % 2:
            status, body, _ = server.rest("POST", "/v1/models/halver:predict", {"inputs": [value]})
            return status == 200 and body["outputs"][0] - 0.5 * value in offsets, (status, body)
        answer = server.predict("halver", x=np.float32([value]))
        return answer["y"][0] - 0.5 * value in offsets, answer

    return Askers(ask, clients)


def test_no_request_is_dropped_while_a_version_is_replaced(reloading, halver):
    with _asking(reloading, 1.0, 2.0) as askers:
        askers.wait_for_answers(1)
        write_halver(halver / "2", 2.0, [halving(1.0)])
        reloading.wait_for_state("halver", 1, "END")
        askers.wait_for_answers(1)
    assert not askers.wrong and not any(askers.refusals), askers.wrong[:3]
    assert reloading.rest(*_ASK)[1] == {"predictions": [3.0]}
    assert reloading.states("halver") == {1: ("END", ""), 2: ("AVAILABLE", "")}


def _changed(file, change):
    def damage(version):
        content = (version / file).read_bytes()
        (version / file).write_bytes(change(content))

    return damage


def _cut(file):
    return _changed(file, lambda content: content[: len(content) // 2])


# What happens to the files of a version, with which warm-up request, and what the server then says of it.
DAMAGES = [
    (_cut("saved_model.pb"), halving(1.0), "saved_model.pb"),
    (_cut(_INDEX), halving(1.0), "not an sstable"),
    (_cut(_DATA), halving(1.0), "Read less bytes"),
    (_cut(_WARM_UP), halving(1.0), "TFRecord format"),
    (_changed(_DATA, lambda content: bytes(byte ^ 1 for byte in content)), halving(1.0), "Checksum does not match"),
    (lambda version: (version / _INDEX).unlink(), halving(1.0), ""),
    (lambda version: (version / "saved_model.pb").unlink(), halving(1.0), "saved_model.pb"),
    (lambda version: None, halving(1.0)._replace(signature="nope"), 'Serving signature key "nope" not found'),
    (lambda version: None, halving(1, 2, 3)._replace(signature="guarded"), "not compatible with expected shape"),
]


def test_versions_that_cannot_be_loaded_leave_the_old_one_in_place(reloading, halver):
    with _asking(reloading, 2.0, clients=2) as askers:
        for number, (damage, warm_up, message) in enumerate(DAMAGES, start=7):
            write_halver(halver / "damaged", 9.0, [warm_up])
            damage(halver / "damaged")
            (halver / "damaged").rename(halver / str(number))
            told = reloading.wait_for_state("halver", number, "END")
            assert told and message in told
            askers.wait_for_answers(1)
    assert not askers.wrong and not any(askers.refusals), askers.wrong[:3]
    assert reloading.states("halver")[2] == ("AVAILABLE", "")
    status, body, _ = reloading.rest("POST", "/v1/models/halver/versions/7:predict", {"instances": [2.0]})
    assert (status, body) == (404, {"error": "Servable not found for request: Specific(halver, 7)"})


def test_a_copy_that_is_finished_later_is_loaded_then(reloading, halver):
    write_halver(halver / "copied", 20.0)
    half = halver / "20"
    half.mkdir()
    reloading.wait_for_state("halver", 20, "END")
    for part in ("variables", "saved_model.pb"):
        (halver / "copied" / part).rename(half / part)
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
    write_halver(directory / "1", 1.0)
    write_halver(directory / "2", 2.0)
    (directory / "2" / _INDEX).unlink()
    (directory / "3").mkdir()
    (directory / "4").write_text("a file")
    config = tmp_path / "models.config"
    places = {"halver": directory, "gone": tmp_path / "gone", "empty": tmp_path / "empty"}
    places["empty"].mkdir()
    entries = (f'config {{ name: "{name}" base_path: "{place}" }}' for name, place in places.items())
    config.write_text(f"model_config_list {{ {' '.join(entries)} }}")
    with running(f"--model_config_file={config}", "--poll_seconds=0.05", log=tmp_path / "log") as server:
        assert server.rest(*_ASK)[1] == {"predictions": [2.0]}
        states = {number: state for number, (state, _) in server.states("halver").items()}
        assert states == {1: "AVAILABLE", **dict.fromkeys((2, 3, 4), "END")}
        write_halver(directory / "draft", 5.0)
        (directory / "draft").rename(directory / "5")
        server.wait_for_state("halver", 1, "END")
        assert server.rest(*_ASK)[1] == {"predictions": [6.0]}
        for name in ("gone", "empty"):
            assert server.rest("GET", f"/v1/models/{name}")[0] == 404
            write_halver(places[name] / "1", 1.0)
            server.wait_for_state(name, 1, "AVAILABLE")
    log = (tmp_path / "log").read_text().splitlines()
    (said,) = [line for line in log if "skipped: " in line]
    assert "halver: version 1 is served; skipped: version 2 (" in said and "version 3 (" in said
    for name, why in (("gone", "it does not exist"), ("empty", "it is empty")):
        said = [line for line in log if f"{name} contains no version" in line]
        # Once, and once more if it was looked at between the making of the directory and its first version.
        assert len(said) in (1, 2) and why in said[0] and "such as" in said[0], said


def _ports_of_ones_own(count):
    lowest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    found = []
    # Each process begins elsewhere.
    for port in range(lowest - 1 - os.getpid() % 4000, 1024, -1):
        with socket.socket() as listener, contextlib.suppress(OSError):
            listener.bind(("127.0.0.1", port))
            found.append(port)
        if len(found) == count:
            return found
    raise AssertionError("no ports below the ephemeral ones are free")


@pytest.mark.slow
def test_killed_under_load_and_started_again_on_the_same_ports(tmp_path):
    write_halver(tmp_path / "halver" / "1", 20.0, [halving(1.0)])
    # Ports that nobody is given by chance: of those others may take one while it is free, and a client that asks a dead
    # one again and again may be connected to itself.
    grpc, rest = _ports_of_ones_own(2)
    ports = [f"--grpc_port={grpc}", f"--rest_port={rest}"]
    with contextlib.ExitStack() as stack:
        first = stack.enter_context(running(f"--model_dir={tmp_path / 'halver'}", *ports, log=tmp_path / "first"))
        with _asking(first, 20.0, clients=6) as askers:
            askers.wait_for_answers(5)
            first.process.send_signal(signal.SIGKILL)
            first.process.wait(120)
            askers.wait_for_refusals()
            stack.enter_context(running(f"--model_dir={tmp_path / 'halver'}", *ports, log=tmp_path / "second"))
            askers.wait_for_answers(20)
        assert not askers.wrong, askers.wrong[:5]

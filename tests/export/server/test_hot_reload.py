"""New versions, damaged versions and the death of the server while clients are asking; what a start passes over."""

import asyncio
import contextlib
import gc
import os
import shutil
import signal
import socket
import weakref
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from export.server import catalogue
from export.server.catalogue import collect_and_freeze
from export.server.child import ServerFailed
from export.server.embedded import Options, _poll
from export.server.errors import ServingError
from export.server.model_config import ModelConfig
from export.server.servable import Servable
from export.versions import existing_versions
from tests.export.server.askers import Askers
from tests.export.server.running import running
from tests.export.server.tiny_models import halving, write_halver
from tests.helpers.forked_programs import called

pytestmark = pytest.mark.slow

_ASK = ("POST", "/v1/models/halver:predict", {"instances": [2.0]})
_DATA, _INDEX = "variables/variables.data-00000-of-00001", "variables/variables.index"


@pytest.fixture(scope="module")
def halver(tmp_path_factory):
    directory = tmp_path_factory.mktemp("reloaded") / "halver"
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
            status, body, _ = server.rest("POST", _ASK[1], {"inputs": [value]})
            return status == 200 and body["outputs"][0] - 0.5 * value in offsets, (status, body)
        answer = server.predict("halver", x=np.float32([value]))
        return answer["y"][0] - 0.5 * value in offsets, answer

    return Askers(ask, clients)


def test_no_request_is_dropped_while_a_version_is_replaced(reloading, halver):
    with _asking(reloading, 1.0, 2.0) as askers:
        askers.wait_for(askers.answers)
        write_halver(halver / "2", 2.0, [halving(1.0)])
        reloading.wait_for_state("halver", 1, "END")
        askers.wait_for(askers.answers)
    assert not askers.wrong and not any(askers.refusals), askers.wrong[:3]
    assert reloading.rest(*_ASK)[1] == {"predictions": [3.0]}
    assert reloading.states("halver") == {1: ("END", ""), 2: ("AVAILABLE", "")}


def _changed(file, change=lambda content: content[: len(content) // 2]):
    return lambda version: (version / file).write_bytes(change((version / file).read_bytes()))


# What happens to the files of a version, with which warm-up request, and what the server then says of it.
DAMAGES = [
    *((_changed(file), halving(1.0), words) for file, words in ((_INDEX, "sstable"), (_DATA, "Read less bytes"))),
    (_changed("assets.extra/tf_serving_warmup_requests"), halving(1.0), "TFRecord"),
    (_changed(_DATA, lambda content: bytes(byte ^ 1 for byte in content)), halving(1.0), "Checksum"),
    (lambda version: (version / _INDEX).unlink(), halving(1.0), ""),
    (_changed("saved_model.pb"), halving(1.0), "saved_model.pb"),
    (lambda version: None, halving(1.0)._replace(signature="nope"), '"nope" not found'),
    (lambda version: None, halving(1, 2, 3)._replace(signature="guarded"), "not compatible"),
]


def test_versions_that_cannot_be_loaded_leave_the_old_one_and_late_copies_are_loaded(reloading, halver, tmp_path):
    (before,) = [number for number, (state, _) in reloading.states("halver").items() if state == "AVAILABLE"]
    with _asking(reloading, float(before), clients=2) as askers:
        for number, (damage, warm_up, message) in enumerate(DAMAGES, start=7):
            write_halver(tmp_path / "damaged", 9.0, [warm_up])
            damage(tmp_path / "damaged")
            (tmp_path / "damaged").rename(halver / str(number))
            told = reloading.wait_for_state("halver", number, "END")
            assert told and message in told
            askers.wait_for(askers.answers)
    assert not askers.wrong and not any(askers.refusals), askers.wrong[:3]
    assert reloading.states("halver")[before] == ("AVAILABLE", "")
    status, body, _ = reloading.rest("POST", "/v1/models/halver/versions/7:predict", {"instances": [2.0]})
    assert (status, body) == (404, {"error": "Servable not found for request: Specific(halver, 7)"})
    # A copy that is finished later is loaded then.
    write_halver(tmp_path / "copied", 20.0)
    half = halver / "20"
    half.mkdir()
    reloading.wait_for_state("halver", 20, "END")
    for part in ("variables", "saved_model.pb"):
        (tmp_path / "copied" / part).rename(half / part)
    reloading.wait_for_state("halver", 20, "AVAILABLE")
    assert reloading.rest(*_ASK)[1] == {"predictions": [21.0]}


def test_a_start_passes_over_what_is_not_whole_and_fails_where_there_is_nothing_else(tmp_path):
    directory = tmp_path / "halver"
    write_halver(directory / "1", 1.0)
    shutil.copytree(directory / "1", directory / "2")
    (directory / "2" / _INDEX).unlink()
    (directory / "3").mkdir()
    (directory / "4").write_text("a file")
    shutil.copytree(directory / "2", tmp_path / "broken" / "1")
    with pytest.raises(ServerFailed), running(f"--model_dir={tmp_path / 'broken'}", log=tmp_path / "log"):
        pass
    assert "version 1 of model broken cannot be loaded" in (tmp_path / "log").read_text()

    config = tmp_path / "models.config"
    places = {"halver": directory, "gone": tmp_path / "gone", "empty": tmp_path / "empty"}
    places["empty"].mkdir()
    entries = (f'config {{ name: "{name}" base_path: "{place}" }}' for name, place in places.items())
    config.write_text(f"model_config_list {{ {' '.join(entries)} }}")
    with running(f"--model_config_file={config}", "--poll_seconds=0.05", log=tmp_path / "log") as server:
        assert server.rest(*_ASK)[1] == {"predictions": [2.0]}
        states = {number: state for number, (state, _) in server.states("halver").items()}
        assert states == {1: "AVAILABLE", **dict.fromkeys((2, 3, 4), "END")}
        for name, number in (("halver", 5), ("gone", 1), ("empty", 1)):
            assert server.rest("GET", f"/v1/models/{name}")[0] == (200 if name == "halver" else 404)
            write_halver(tmp_path / f"new {name}", 5.0)
            places[name].mkdir(exist_ok=True)
            (tmp_path / f"new {name}").rename(places[name] / str(number))
            server.wait_for_state(name, number, "AVAILABLE")
        server.wait_for_state("halver", 1, "END")
        assert server.rest(*_ASK)[1] == {"predictions": [6.0]}
    log = (tmp_path / "log").read_text().splitlines()
    (said,) = [line for line in log if "skipped: " in line]
    assert "halver: version 1 is served" in said and "version 2 (" in said and "version 3 (" in said
    for name in ("gone", "empty"):
        # Once, and once more if it was looked at between the making of the directory and its first version.
        assert len([line for line in log if f"{name} contains no version" in line]) in (1, 2)


def test_a_configuration_that_was_edited_while_models_loaded_is_read_again(tmp_path):
    """The models are of a text that nobody has any more when the first look at the file is taken."""
    config, done = tmp_path / "models.config", []
    config.write_text(f'model_config_list {{ config {{ name: "edited" base_path: "{tmp_path}" }} }}')

    class Looking:
        async def reload(self, models, load_first):
            done.append([*models, load_first])

        async def refresh(self):
            done.append("refreshed")
            raise ArithmeticError

    with pytest.raises(ArithmeticError):
        asyncio.run(_poll(Looking(), Options({}, config_file=config, poll_seconds=0.0)))
    assert done == [["edited", True], "refreshed"]


def test_labels_of_a_file_wait_for_their_versions_and_the_old_ones_answer_meanwhile(tmp_path, monkeypatch):
    """Neither a directory that cannot be read nor a model that cannot be loaded stops the others."""

    def model(versions, **labels):
        return ModelConfig("halver", tmp_path / "halver", None, frozenset(versions), labels)

    def existing(path):
        if path.name == "unreadable":
            raise PermissionError(13, "Permission denied", str(path))
        return existing_versions(path)

    def load(directory):
        if directory.parent.name == "broken":
            raise ServingError("DATA_LOSS", "it is broken")
        return SimpleNamespace(close=lambda: None)

    monkeypatch.setattr(catalogue, "existing_versions", existing)
    for version in ("halver/1", "halver/2", "broken/1"):
        (tmp_path / version).mkdir(parents=True)
    others = {"a": ModelConfig("a", tmp_path / "unreadable"), "broken": ModelConfig("broken", tmp_path / "broken")}

    async def edited():
        served = catalogue.Catalogue({"halver": model({1}, stable=1)}, load)
        await served.start()

        def state():
            return served.table.labels["halver"], set(served.table.available("halver"))

        with pytest.raises(ServingError, match="version 2 of model halver, which is not currently"):
            await served.reload({"halver": model({2}, stable=2)})
        assert state() == ({"stable": 1}, {1})
        with pytest.raises(ServingError, match="version 3 of model halver, which is not currently"):
            await served.reload({"halver": model({2, 3}, stable=3)}, load_first=True)
        for _ in range(2):
            assert state() == ({"stable": 1}, {1, 2})
            await served.refresh()
        (tmp_path / "halver" / "3").mkdir()
        await served.refresh()
        assert state() == ({"stable": 3}, {2, 3})
        with pytest.raises(ServingError, match="version 1 of model broken cannot be loaded: it is broken"):
            await served.reload({**others, "halver": model({1}, stable=1)}, load_first=True)
        assert state() == ({"stable": 1}, {1})
        # What is told by a call drops what a file still waits for.
        with pytest.raises(ServingError, match="not currently"):
            await served.reload({"halver": model({1, 4}, stable=4)}, load_first=True)
        await served.reload({"halver": model({1}, old=1)})
        (tmp_path / "halver" / "4").mkdir()
        await served.refresh()
        assert state() == ({"old": 1}, {1})
        await served.reload({})
        assert served.table.labels == {}
        # Also those of a model that never had a version.
        served = catalogue.Catalogue({"none": ModelConfig("none", tmp_path / "none", labels={"stable": 1})}, load, True)
        await served.start()
        assert served.table.labels == {"none": {"stable": 1}}
        await served.reload({}, load_first=True)
        assert served.table.labels == {}

    asyncio.run(edited())


def _ports_of_ones_own(count):
    """Ports that nobody is given by chance.

    Of those others may take one while it is free, and a client that asks a dead one again and again may be connected to
    itself.
    """
    lowest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    found = []
    for port in range(lowest - 1 - os.getpid() % 4000, 1024, -1):  # Each process begins elsewhere.
        with socket.socket() as listener, contextlib.suppress(OSError):
            listener.bind(("127.0.0.1", port))
            found.append(port)
        if len(found) == count:
            return found
    raise AssertionError("no ports below the ephemeral ones are free")


@pytest.mark.slow
def test_killed_under_load_and_started_again_on_the_same_ports(tmp_path):
    write_halver(tmp_path / "halver" / "1", 20.0, [halving(1.0)])
    ports = [f"--{name}_port={port}" for name, port in zip(("grpc", "rest"), _ports_of_ones_own(2), strict=True)]
    with contextlib.ExitStack() as stack:
        first = stack.enter_context(running(f"--model_dir={tmp_path / 'halver'}", *ports, log=tmp_path / "first"))
        with _asking(first, 20.0, clients=6) as askers:
            askers.wait_for(askers.answers, 5)
            first.process.send_signal(signal.SIGKILL)
            first.process.wait(120)
            askers.wait_for(askers.refusals)
            stack.enter_context(running(f"--model_dir={tmp_path / 'halver'}", *ports, log=tmp_path / "second"))
            askers.wait_for(askers.answers, 20)
        assert not askers.wrong, askers.wrong[:5]


def test_the_graph_of_an_unloaded_version_is_freed(halver):
    # Where a collection does not look at all that other tests left.
    assert called(_freed, halver / "1") == [False, True]


def _freed(version):
    """Whether its graph is, without a collection and after one."""
    servable = Servable(version)
    graph = weakref.ref(servable._session.graph)
    collect_and_freeze()
    servable.close()
    del servable
    gc.collect()
    before = graph() is None
    collect_and_freeze()
    return [before, graph() is None]

"""A label moved on a running server, back, and what is left after each thing that can go wrong."""

import shutil
import signal
import subprocess
import sys

import pytest
from google.protobuf import text_format
from tensorflow_serving.config import model_server_config_pb2

from cml_tf.system.files import locked
from export.rollout.config_file import ConfigFile
from export.rollout.errors import RolloutError
from export.rollout.interruption import interruptible
from export.rollout.running_server import RunningServer
from export.rollout.steps import Rollout
from tests.export.server.running import running
from tests.export.server.tiny_models import write_halver
from tests.helpers.programs import ROOT, environment, run_programs

_COMMENT = "# What we serve.\n"


@pytest.fixture(scope="module")
def halver(tmp_path_factory):
    """Versions 1 to 3: half of x, plus the number of the version; 4 cannot be loaded."""
    directory = tmp_path_factory.mktemp("rolled_out") / "halver"
    for number in (1, 2, 3):
        write_halver(directory / str(number), float(number))
    (directory / "4").mkdir()
    (directory / "4" / "saved_model.pb").write_bytes(b"\xff not a SavedModel")
    shutil.copytree(directory / "1", directory.parent / "other" / "1")
    return directory


def _config(halver, policy="specific { versions: 1 }", label='version_labels { key: "stable" value: 1 }'):
    common = 'model_platform: "tensorflow"'
    return (
        _COMMENT + "model_config_list {\n"
        f'  config {{ name: "halver" base_path: "{halver}" {common} model_version_policy {{ {policy} }} {label} }}\n'
        f'  config {{ name: "other" base_path: "{halver.parent / "other"}" {common} }}\n}}\n'
    )


@pytest.fixture(scope="module")
def path(halver):
    return halver.parent / "models.config"


@pytest.fixture(scope="module")
def process(halver, path):
    path.write_text(_config(halver))
    with running(f"--model_config_file={path}", "--poll_seconds=0.1", log=halver.parent / "log") as server:
        yield server


@pytest.fixture
def server(process, halver, path):
    """As at the start: version 1 under `stable`."""
    remote = RunningServer(process.grpc_address)
    # A label moves to a loaded version only, whichever the test before left loaded.
    for text in (_config(halver, label=""), _config(halver)):
        path.write_text(text)
        remote.reload(ConfigFile(path, "halver").message, 60)
        process.wait_for_state("halver", 1, "AVAILABLE")
    yield process
    remote.close()


def _rollout(server, path, lines=None, label="stable", seconds=60.0, more=()):
    servers = [RunningServer(address) for address in (server.grpc_address, *more)]
    tell = [].append if lines is None else lines.append
    return Rollout(servers, ConfigFile(path, "halver"), "halver", label, seconds, tell)


def _answers(server):
    """Which versions answer under the label and under that of the one before, if any."""
    found = []
    for label in ("stable", "stable_previous"):
        status, body, _ = server.rest("POST", f"/v1/models/halver/labels/{label}:predict", {"instances": [0.0]})
        found += body["predictions"] if status == 200 else []
    return found


def _file(path):
    config = ConfigFile(path, "halver")
    return config.versions, config.labels


def test_a_label_moves_and_comes_back(server, path):
    lines = []
    _rollout(server, path, lines).to(2)
    assert [word in line for word, line in zip(("loading", "AVAILABLE", "label stable"), lines, strict=True)] == [
        True
    ] * 3
    assert _answers(server) == [2.0, 1.0]
    assert _file(path) == ({1, 2}, {"stable": 2, "stable_previous": 1})
    text = path.read_text()
    # The same once more changes nothing; the file keeps its comment and the other models.
    _rollout(server, path).to(2)
    assert path.read_text() == text and text.startswith(_COMMENT) and _answers(server) == [2.0, 1.0]
    message = text_format.Parse(text, model_server_config_pb2.ModelServerConfig())
    assert [config.name for config in message.model_config_list.config] == ["halver", "other"]
    assert server.states("other")[1][0] == "AVAILABLE"
    _rollout(server, path).back()
    assert _answers(server) == [1.0, 2.0]
    assert _file(path) == ({1, 2}, {"stable": 1, "stable_previous": 2})
    # Only the version before stays loaded.
    _rollout(server, path, lines).to(3)
    server.wait_for_state("halver", 2, "END")
    assert _file(path) == ({1, 3}, {"stable": 3, "stable_previous": 1}) and "unloaded 2" in lines[-1]


def test_the_old_version_is_unloaded_on_request_unless_another_label_points_to_it(server, halver, path):
    _rollout(server, path, label="canary").to(1)
    _rollout(server, path).to(2, unload_old=True)
    assert _file(path) == ({1, 2}, {"canary": 1, "stable": 2})
    _rollout(server, path, label="canary").to(2, unload_old=True)
    server.wait_for_state("halver", 1, "END")
    assert _file(path) == ({2}, {"canary": 2, "stable": 2})
    with pytest.raises(RolloutError, match="stable_previous, .*--version"):
        _rollout(server, path).back()
    # Versions that a policy had chosen stay.
    path.write_text(_config(halver, "latest { num_versions: 1 }", label=""))
    _rollout(server, path).to(3)
    assert _file(path) == ({2, 3}, {"stable": 3})


@pytest.mark.parametrize(("version", "message"), [(4, "END"), (9, "not found")])
def test_a_version_that_does_not_load_changes_nothing(server, path, version, message):
    text, lines = path.read_text(), []
    with pytest.raises(RolloutError, match=message):
        _rollout(server, path, lines, seconds=1.0).to(version)
    assert lines[-1] == "restored the file and the servers to their previous state"
    loaded = {number for number, (state, _) in server.states("halver").items() if state == "AVAILABLE"}
    assert (path.read_text(), _answers(server), loaded) == (text, [1.0], {1})


def test_servers_that_refuse_or_are_not_there_change_nothing(server, halver, path):
    text = path.read_text()
    with pytest.raises(RolloutError, match="127.0.0.1:1 .*UNAVAILABLE"):
        _rollout(server, path, more=["127.0.0.1:1"]).to(2)
    assert (path.read_text(), _answers(server)) == (text, [1.0])
    # A label on a version that the server does not have: the reload is refused as a whole.
    text = _config(halver, "specific { versions: 1 }", 'version_labels { key: "canary" value: 7 }')
    path.write_text(text)
    with pytest.raises(RolloutError, match="FAILED_PRECONDITION.*Restoring the previous state failed too"):
        _rollout(server, path).to(2)
    assert (path.read_text(), _answers(server)) == (text, [1.0])


class _Refuses(RunningServer):
    """A replica that refuses the reloads whose numbers it is given, and obeys the others."""

    def __init__(self, address, numbers):
        super().__init__(address)
        self.numbers, self.count = numbers, 0

    def reload(self, config, seconds):
        self.count += 1
        if self.count in self.numbers:
            raise RolloutError(f"reload {self.count} is refused.")
        super().reload(config, seconds)


def test_replicas_have_one_state_whichever_reload_is_refused(server, path):
    """Two connections to one server stand for two replicas: what the first one was told must be taken back."""
    _rollout(server, path).to(2)
    before = path.read_text()
    # Loading the new version beside the others, then moving the label.
    for number in (1, 2):
        rollout = _rollout(server, path)
        rollout._servers.append(_Refuses(server.grpc_address, {number}))
        with pytest.raises(RolloutError, match=f"reload {number} is refused.$"):
            rollout.to(3)
        assert (path.read_text(), _answers(server)) == (before, [2.0, 1.0])
    # The label has moved by then, so there is no way back; the next rollout goes on.
    rollout = _rollout(server, path)
    rollout._servers.insert(0, _Refuses(server.grpc_address, {3}))
    with pytest.raises(
        RolloutError, match="points to version 3 on every server.*than 2, 3 failed: reload 3 is.*--version=3"
    ):
        rollout.to(3)
    server.wait_for_state("halver", 1, "END")
    assert _file(path) == ({2, 3}, {"stable": 3, "stable_previous": 2}) and _answers(server) == [3.0, 2.0]
    _rollout(server, path).to(3)
    assert _answers(server) == [3.0, 2.0]
    # The same where the file cannot be written.
    rollout, writes = _rollout(server, path), []

    def write():
        writes.append(rollout._config.versions)
        if len(writes) == 3:
            raise RolloutError("it cannot be written.")
        ConfigFile.write(rollout._config)

    rollout._config.write = write
    with pytest.raises(RolloutError, match="points to version 1 on every server.*than 1, 3 failed: it cannot be"):
        rollout.to(1)
    assert _answers(server) == [1.0, 3.0]
    # What the message says to do unloads what the file still lists.
    _rollout(server, path).to(1)
    server.wait_for_state("halver", 2, "END")
    assert _file(path) == ({1, 3}, {"stable": 1, "stable_previous": 3})


def test_every_replica_is_restored_after_one_that_fails_again(server, path):
    rollout = _rollout(server, path)
    rollout._servers.insert(0, _Refuses(server.grpc_address, {2, 3}))
    with pytest.raises(RolloutError, match="reload 2 is refused. Restoring .* failed too: reload 3 is refused."):
        rollout.to(2)
    server.wait_for_state("halver", 2, "END")
    assert _answers(server) == [1.0]


class _KilledError(BaseException):
    """Nothing runs after it."""


def test_what_a_killed_rollout_did_not_unload_the_next_one_does(server, halver, path, monkeypatch):
    path.write_text(_config(halver, "specific { versions: 1 versions: 2 versions: 3 }", label=""))
    _rollout(server, path).to(2)
    _rollout(server, path, label="canary").to(1)

    def killed(*_):
        raise _KilledError

    with monkeypatch.context() as patched, pytest.raises(_KilledError):
        patched.setattr(Rollout, "_unload", killed)
        _rollout(server, path, label="canary").to(2, unload_old=True)
    assert _file(path) == ({1, 2, 3}, {"stable": 2, "canary": 2, "canary_unloading_1": 1})
    # Not of a rollout of another label; 3 never had a label, so it may be somebody's.
    _rollout(server, path).to(2)
    assert 1 in _file(path)[0]
    _rollout(server, path, label="canary").to(2)
    assert _file(path) == ({2, 3}, {"stable": 2, "canary": 2})
    server.wait_for_state("halver", 1, "END")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_restores_and_sigterm_after_it_does_not_stop_that(server, path, monkeypatch, number):
    text, lines, before = path.read_text(), [], signal.getsignal(signal.SIGTERM)
    restore = ConfigFile.restore

    def restoring(config):
        signal.raise_signal(signal.SIGTERM)
        return restore(config)

    class Told:
        def append(self, line):
            lines.append(line)
            if "AVAILABLE" in line:
                signal.raise_signal(number)

    monkeypatch.setattr(ConfigFile, "restore", restoring)
    with pytest.raises(KeyboardInterrupt), interruptible():
        _rollout(server, path, Told()).to(2)
    assert lines[-1] == "restored the file and the servers to their previous state"
    assert (path.read_text(), _answers(server)) == (text, [1.0])
    assert signal.getsignal(signal.SIGTERM) is before


def test_the_servers_go_back_where_the_file_was_changed_meanwhile(server, path):
    lines = []

    class Told:
        def append(self, line):
            lines.append(line)
            if "AVAILABLE" in line:
                path.write_text("# Somebody's.\n" + path.read_text())

    with pytest.raises(RolloutError, match="a change by somebody else"):
        _rollout(server, path, Told()).to(2)
    assert "but not the file" in lines[-1] and path.read_text().startswith("# Somebody's.\n")
    server.wait_for_state("halver", 2, "END")
    assert _answers(server) == [1.0]


@pytest.mark.slow
def test_a_restart_serves_the_same(server, path, tmp_path):
    _rollout(server, path).to(3)
    with running(f"--model_config_file={path}", log=tmp_path / "log") as restarted:
        assert _answers(restarted) == [3.0, 1.0]


_MISTAKES = [
    ([], "--back"),
    (["--version=1", "--back"], "--back"),
    (["--version=1", "--label=no-dash"], "--label"),
    (["--version=1", "--model=nobody"], "one of"),
    (["--version=1", "--address="], "--address must name"),
]


def test_the_program_moves_the_label_and_tells_mistakes_in_one_line(server, path):
    common = ["export.rollout.__main__", f"--model_config_file={path}", "--model=halver"]
    moving = [*common, f"--address={server.grpc_address}", "--version=3"]
    moved, *failed = run_programs([moving, *([*common, *flags] for flags, _ in _MISTAKES)])
    assert (moved.code, moved.messages) == (0, []) and "stable points to version 3" in moved.out
    assert _answers(server) == [3.0, 1.0]
    with locked(path):
        [held] = run_programs([moving])
    assert held.code == 2 and "another rollout works on" in held.messages[0]
    for (_, message), finished in zip(_MISTAKES, failed, strict=True):
        assert (finished.code, len(finished.messages)) == (2, 1), finished
        assert message in finished.messages[0]


@pytest.mark.slow
def test_a_cancelled_program_restores(server, path):
    text = path.read_text()
    command = [sys.executable, "-m", "export.rollout", f"--model_config_file={path}", "--model=halver"]
    command += [f"--address={server.grpc_address}", "--version=9"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=ROOT, env=environment(), **pipes) as process:
        assert "loading version 9" in process.stdout.readline()
        assert path.read_text() != text
        process.send_signal(signal.SIGTERM)
        out, errors = process.communicate()
    assert process.returncode == 130 and "restored the file and the servers" in out, errors
    assert (path.read_text(), _answers(server)) == (text, [1.0])

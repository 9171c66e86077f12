"""TensorFlow Serving run from PATH in place of the embedded server."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest
from absl import flags

from export.deploy import MONITORING
from export.server.model_config import ModelConfig
from export.server.tensorflow_serving import IMAGE, EngineError, docker_command, run_tensorflow_serving, translated
from tests.export.server.forked import Program, called

_OPEN = "--host=0.0.0.0"
_REFUSED = {
    "--playground": "has no --playground",
    "--max_message_bytes=5000": "has no --max_message_bytes",
    "--max_concurrent_requests=2": "has no --max_concurrent_requests",
    "--max_queued_requests=2": "has no --max_queued_requests",
    "--grace_seconds=30": "has no --grace_seconds",
    "--tls_key=x": "has no --tls_key: leave it out, or use --engine=embedded; for encryption",
    "--host=127.0.0.1": "listens on every address of the machine, not only on 127.0.0.1",
    "--rest_port=0": "cannot choose a free port",
    "--poll_seconds=1.5": "must be a whole number of at least 1",
    "--metrics_path=/metrics": "reads --metrics_path from a file",
}
_DIRECTORY = ["--model_dir=waves", _OPEN, "--grpc_port=9000", "--rest_port=9001", "--timeout_seconds=2.5", "--cors"]
_CONFIGURED = [
    "--model_config_file=/etc/models.config",
    "--reread_model_config_file",
    "--poll_seconds=3",
    "--allow_version_labels_for_unavailable_models",
    "--enable_grpc_healthcheck_service",
    "--metrics_path=",
    "--ssl_config_file=/etc/ssl.config",
    _OPEN,
]


def _answers(asked: list[list[str]]) -> list[Any]:
    """Of each list of flags: those translated and the command for Docker, or why not; at last, without a binary."""
    import export.serve  # noqa: F401  (its flags; programs share names of flags, so no two fit into one process)

    def tried(answer):
        try:
            return answer(flags.FLAGS, [ModelConfig("waves", Path("/data/my waves"))])
        except EngineError as error:
            return str(error)

    told = []
    for arguments in asked:
        flags.FLAGS.unparse_flags()
        for name in flags.FLAGS:
            flags.FLAGS[name].unparse()
            flags.FLAGS[name].present = 0
        flags.FLAGS(["serve", *arguments])
        told.append(tried(lambda *given: (translated(*given), docker_command(*given))))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", "")
        return [*told, tried(run_tensorflow_serving)]


@pytest.fixture(scope="module")
def answers():
    """Of the directory, of the configuration file, of each flag that is refused, and without the binary."""
    plain = ["--model_dir=waves", _OPEN]
    return called(_answers, [_DIRECTORY, _CONFIGURED, *([*plain, flag] for flag in _REFUSED), plain])


def test_flags_are_translated_and_a_configuration_file_is_handed_on(answers):
    assert answers[0][0] == [
        *("--model_name=waves", "--model_base_path=/data/my waves", "--port=9000", "--rest_api_port=9001"),
        *("--file_system_poll_wait_seconds=1", "--rest_api_timeout_in_ms=2500"),
        *(f"--monitoring_config_file={MONITORING}", "--rest_api_enable_cors_support=true"),
    ]
    assert answers[1][0] == [
        *("--model_config_file=/etc/models.config", "--model_config_file_poll_wait_seconds=3"),
        *("--allow_version_labels_for_unavailable_models=true", "--port=8500", "--rest_api_port=8501"),
        *("--file_system_poll_wait_seconds=3", "--rest_api_timeout_in_ms=30000"),
        *("--enable_grpc_healthcheck_service=true", "--ssl_config_file=/etc/ssl.config"),
    ]


def test_what_it_cannot_honour_is_refused_by_name(answers):
    for message, answer in zip(_REFUSED.values(), answers[2 : 2 + len(_REFUSED)], strict=True):
        assert message in answer


def test_the_command_for_docker_mounts_what_it_names(answers):
    words = shlex.split(answers[0][1])
    assert words[:3] == ["docker", "run", "--rm"]
    assert {"127.0.0.1:9000:8500", "127.0.0.1:9001:8501", "/data/my waves:/data/my waves:ro"} < set(words)
    arguments = words[words.index(IMAGE) + 1 :]
    # All but the ports is said in the container too.
    assert arguments == [word for word in answers[0][0] if not word.startswith(("--port=", "--rest_api_port="))]
    words = shlex.split(answers[1][1])
    mounted = (f"{file}:{file}:ro" for file in ("/etc/models.config", "/etc/ssl.config"))
    told = ("--model_config_file=/etc/models.config", "--ssl_config_file=/etc/ssl.config")
    assert {*mounted, *told} < set(words)


def test_the_binary_on_path_takes_over_the_process(tmp_path):
    (tmp_path / "waves").mkdir()
    binary = tmp_path / "tensorflow_model_server"
    binary.write_text('#!/bin/sh\necho "$$"; for word in "$@"; do echo "$word"; done; exit 7\n')
    binary.chmod(0o755)
    words = ["--engine=tfserving", f"--model_dir={tmp_path / 'waves'}", _OPEN]
    out, errors = tmp_path / "out", tmp_path / "errors"
    assert Program("export.serve", words, out, errors, {"PATH": str(tmp_path)}).wait(120) == 7, errors.read_text()
    lines = out.read_text().splitlines()
    assert lines[1:3] == ["--model_name=waves", f"--model_base_path={tmp_path / 'waves'}"]


def test_without_the_binary_there_is_a_command_to_paste(answers):
    assert "needs tensorflow_model_server on PATH" in answers[-1]
    assert "run this command with Docker: docker run --rm -p 127.0.0.1:" in answers[-1]

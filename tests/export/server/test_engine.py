"""TensorFlow Serving run from PATH in place of the embedded server."""

import shlex
from pathlib import Path
from typing import Any

import pytest
from absl import flags

from export.deploy import MONITORING
from export.server.model_config import ModelConfig
from export.server.tensorflow_serving import IMAGE, EngineError, docker_command, run_tensorflow_serving, translated
from tests.helpers.forked_programs import Program, called
from tests.helpers.programs import run_programs

_PLAIN = ["--model_dir=waves", "--host=0.0.0.0"]
# What it cannot honour, and what the refusal names.
_REFUSED = {
    **{f"--{name}": name for name in ("playground", "max_message_bytes=5000", "grace_seconds=30")},
    **{f"--{name}=2": name for name in ("max_concurrent_requests", "max_queued_requests")},
    "--tls_key=x": "ssl_config_file",
    "--host=127.0.0.1": "127.0.0.1",
    "--rest_port=0": "free port",
    "--poll_seconds=1.5": "whole number",
    "--metrics_path=/metrics": "--metrics_path",
}
_DIRECTORY = [*_PLAIN, "--grpc_port=9000", "--rest_port=9001", "--timeout_seconds=2.5", "--cors"]
_CONFIGURED = [
    *("--model_config_file=/etc/models.config", "--reread_model_config_file", "--poll_seconds=3", "--host=0.0.0.0"),
    *("--allow_version_labels_for_unavailable_models", "--enable_grpc_healthcheck_service", "--metrics_path="),
    "--ssl_config_file=/etc/ssl.config",
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


def test_flags_are_translated_or_refused_by_name_and_docker_mounts_what_they_name():
    asked = [_DIRECTORY, _CONFIGURED, *([*_PLAIN, flag] for flag in _REFUSED), _PLAIN]
    (directory, docker), (configured, mounting), *refused, _, without_binary = called(_answers, asked)
    assert directory == [
        *("--model_name=waves", "--model_base_path=/data/my waves", "--port=9000", "--rest_api_port=9001"),
        *("--file_system_poll_wait_seconds=1", "--rest_api_timeout_in_ms=2500"),
        *(f"--monitoring_config_file={MONITORING}", "--rest_api_enable_cors_support=true"),
    ]
    assert configured == [
        *("--model_config_file=/etc/models.config", "--model_config_file_poll_wait_seconds=3"),
        *("--allow_version_labels_for_unavailable_models=true", "--port=8500", "--rest_api_port=8501"),
        *("--file_system_poll_wait_seconds=3", "--rest_api_timeout_in_ms=30000"),
        *("--enable_grpc_healthcheck_service=true", "--ssl_config_file=/etc/ssl.config"),
    ]
    for message, answer in zip(_REFUSED.values(), refused, strict=True):
        assert isinstance(answer, str) and message.partition("=")[0] in answer
    words = shlex.split(docker)
    assert {"127.0.0.1:9000:8500", "127.0.0.1:9001:8501", "/data/my waves:/data/my waves:ro"} < set(words)
    # All but the ports is said in the container too.
    told = [word for word in directory if not word.startswith(("--port=", "--rest_api_port="))]
    assert words[:3] == ["docker", "run", "--rm"] and words[words.index(IMAGE) + 1 :] == told
    files = ("/etc/models.config", "/etc/ssl.config")
    assert {f"{file}:{file}:ro" for file in files} < set(shlex.split(mounting))
    assert "tensorflow_model_server on PATH" in without_binary
    assert "docker run --rm -p 127.0.0.1:" in without_binary


# What has no effect there, by what is served.
_IDLE = {
    "--model_config_file": ("--model_name=waves",),
    "--model_dir": ("--reread_model_config_file", "--allow_version_labels_for_unavailable_models"),
}


def test_flags_without_effect_are_refused(tmp_path):
    pairs = [(served, flag) for served, flags in _IDLE.items() for flag in flags]
    # An engine that would refuse the host next: nothing is served, whatever is overlooked.
    calls = [["export.serve", "--engine=tfserving", f"{served}={tmp_path}", flag] for served, flag in pairs]
    for (served, flag), finished in zip(pairs, run_programs(calls), strict=True):
        told = f"error: {flag.partition('=')[0]} has no effect with {served}: leave it out."
        assert (finished.code, finished.messages) == (2, [told])


def test_the_binary_on_path_takes_over_the_process(tmp_path):
    (tmp_path / "waves").mkdir()
    binary = tmp_path / "tensorflow_model_server"
    binary.write_text('#!/bin/sh\nfor word in "$@"; do echo "$word"; done; exit 7\n')
    binary.chmod(0o755)
    words = ["export.serve", "--engine=tfserving", f"--model_dir={tmp_path / 'waves'}", "--host=0.0.0.0"]
    out, errors = tmp_path / "out", tmp_path / "errors"
    assert Program(words, out, errors, {"PATH": str(tmp_path)}).wait(120) == 7, errors.read_text()
    lines = out.read_text().splitlines()
    assert lines[:2] == ["--model_name=waves", f"--model_base_path={tmp_path / 'waves'}"]

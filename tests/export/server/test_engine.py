"""TensorFlow Serving run from PATH in place of the embedded server."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys

import pytest

from export.deploy import MONITORING
from export.server.tensorflow_serving import IMAGE
from tests.export.server.running import ROOT

_OPEN = "--host=0.0.0.0"
# Flags are parsed in a process of their own: programs share names of flags, so no two fit into one process.
_CHILD = """
import json, os, sys
from pathlib import Path
from absl import flags
import export.serve
from export.server.model_config import ModelConfig
from export.server.tensorflow_serving import EngineError, docker_command, run_tensorflow_serving, translated
models, answers = [ModelConfig("waves", Path("/data/my waves"))], []
for arguments in json.load(sys.stdin):
    flags.FLAGS.unparse_flags()
    for name in flags.FLAGS:
        flags.FLAGS[name].unparse()
        flags.FLAGS[name].present = 0
    flags.FLAGS(["serve", *arguments])
    try:
        answers.append([translated(flags.FLAGS, models), docker_command(flags.FLAGS, models)])
    except EngineError as error:
        answers.append(str(error))
os.environ["PATH"] = ""
flags.FLAGS(["serve", "--model_dir=waves", "--host=0.0.0.0", "--nocors", "--poll_seconds=1", "--metrics_path="])
for name in flags.FLAGS:
    flags.FLAGS[name].present = 0
try:
    run_tensorflow_serving(flags.FLAGS, models)
except EngineError as error:
    answers.append(str(error))
print(json.dumps(answers))
"""
_REFUSED = {
    "--playground": "has no --playground",
    "--max_message_bytes=5000": "has no --max_message_bytes",
    "--max_concurrent_requests=2": "has no --max_concurrent_requests",
    "--max_queued_requests=2": "has no --max_queued_requests",
    "--grace_seconds=30": "has no --grace_seconds",
    "--tls_key=x": "has no --tls_key: leave it out, or serve with --engine=embedded; for encryption",
    "--host=127.0.0.1": "listens on every address of the machine, not on 127.0.0.1 alone",
    "--rest_port=0": "cannot choose a free port",
    "--poll_seconds=1.5": "whole seconds",
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


@pytest.fixture(scope="module")
def answers():
    """Of the directory, of the configuration file, and of each flag that is refused."""
    asked = [_DIRECTORY, _CONFIGURED, *(["--model_dir=waves", _OPEN, flag] for flag in _REFUSED)]
    command = [sys.executable, "-c", _CHILD]
    result = subprocess.run(command, cwd=ROOT, input=json.dumps(asked), capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def test_flags_are_translated(answers):
    assert answers[0][0] == [
        "--model_name=waves",
        "--model_base_path=/data/my waves",
        "--port=9000",
        "--rest_api_port=9001",
        "--file_system_poll_wait_seconds=1",
        "--rest_api_timeout_in_ms=2500",
        f"--monitoring_config_file={MONITORING}",
        "--rest_api_enable_cors_support=true",
    ]
    assert MONITORING.is_file()


def test_a_configuration_file_is_handed_on(answers):
    assert answers[1][0] == [
        "--model_config_file=/etc/models.config",
        "--model_config_file_poll_wait_seconds=3",
        "--allow_version_labels_for_unavailable_models=true",
        "--port=8500",
        "--rest_api_port=8501",
        "--file_system_poll_wait_seconds=3",
        "--rest_api_timeout_in_ms=30000",
        "--enable_grpc_healthcheck_service=true",
        "--ssl_config_file=/etc/ssl.config",
    ]


@pytest.mark.parametrize("flag", _REFUSED)
def test_what_it_cannot_honour_is_refused_by_name(answers, flag):
    assert _REFUSED[flag] in answers[2 + list(_REFUSED).index(flag)]


def test_the_command_for_docker_mounts_what_it_names(answers):
    words = shlex.split(answers[0][1])
    assert words[:3] == ["docker", "run", "--rm"]
    assert {"127.0.0.1:9000:8500", "127.0.0.1:9001:8501", "/data/my waves:/data/my waves:ro"} < set(words)
    arguments = words[words.index(IMAGE) + 1 :]
    assert arguments[:2] == ["--model_name=waves", "--model_base_path=/data/my waves"]
    # All but the ports is said in the container too.
    assert arguments == [word for word in answers[0][0] if not word.startswith(("--port=", "--rest_api_port="))]
    words = shlex.split(answers[1][1])
    for file in ("/etc/models.config", "/etc/ssl.config"):
        assert f"{file}:{file}:ro" in words
    assert {"--model_config_file=/etc/models.config", "--ssl_config_file=/etc/ssl.config"} < set(words)


def _serve(path, *arguments):
    command = [sys.executable, "-m", "export.serve", "--engine=tfserving", *arguments]
    environment = {**os.environ, "PATH": str(path)}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)


def test_the_binary_on_path_takes_over_the_process(tmp_path):
    (tmp_path / "waves").mkdir()
    binary = tmp_path / "tensorflow_model_server"
    binary.write_text('#!/bin/sh\necho "$$"; for word in "$@"; do echo "$word"; done; exit 7\n')
    binary.chmod(0o755)
    result = _serve(tmp_path, f"--model_dir={tmp_path / 'waves'}", _OPEN)
    assert result.returncode == 7, result.stderr
    lines = result.stdout.splitlines()
    assert lines[1:3] == ["--model_name=waves", f"--model_base_path={tmp_path / 'waves'}"]


def test_without_the_binary_there_is_a_command_to_paste(answers):
    assert "needs tensorflow_model_server on PATH" in answers[-1]
    assert "paste this where Docker is: docker run --rm -p 127.0.0.1:" in answers[-1]


@pytest.mark.slow
def test_without_the_binary_one_line_says_what_to_do(tmp_path):
    (tmp_path / "waves").mkdir()
    result = _serve(tmp_path, f"--model_dir={tmp_path / 'waves'}", _OPEN)
    errors = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert (result.returncode, len(errors), result.stdout) == (2, 1, "")
    assert "needs tensorflow_model_server on PATH" in errors[0]
    assert f"docker run --rm -p 127.0.0.1:8500:8500 -p 127.0.0.1:8501:8501 -v {tmp_path}" in errors[0]

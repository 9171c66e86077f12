"""Runs TensorFlow Serving's own binary in place of this server, with the flags in its words."""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import NoReturn

from absl import flags

from cml_tf.errors import UserError
from export.deploy import MONITORING
from export.server.model_config import ModelConfig

BINARY = "tensorflow_model_server"
IMAGE = "tensorflow/serving:2.20.0"
EVERY_ADDRESS = "0.0.0.0"

# What TensorFlow Serving has no word for.
_UNKNOWN_THERE = (
    "max_message_bytes",
    "max_concurrent_requests",
    "max_queued_requests",
    "grace_seconds",
    "playground",
    "tls_certificate",
    "tls_key",
    "tls_client_ca",
)


class EngineError(UserError):
    """TensorFlow Serving cannot be run as asked."""


def run_tensorflow_serving(given: flags.FlagValues, models: Iterable[ModelConfig]) -> NoReturn:
    """Becomes TensorFlow Serving.

    Args:
      given: the parsed flags of `export.serve`.
      models: what they ask to serve.

    Raises:
      EngineError: if it is not on PATH, or has no such thing as a flag asks for.
    """
    arguments = translated(given, list(models))
    binary = shutil.which(BINARY)
    if binary is None:
        raise EngineError(
            f"--engine=tfserving needs {BINARY} on PATH, where it was not found. Install it, use "
            f"--engine=embedded, or run this command with Docker: {docker_command(given, list(models))}"
        )
    os.execv(binary, [binary, *arguments])


def translated(given: flags.FlagValues, models: list[ModelConfig]) -> list[str]:
    """The flags in TensorFlow Serving's words.

    Raises:
      EngineError: if there are none for a flag.
    """
    _refuse_unknown(given)
    ports = [f"--port={given.grpc_port}", f"--rest_api_port={given.rest_port}"]
    return [*_models(given, models), *ports, *_settings(given)]


def _settings(given: flags.FlagValues) -> list[str]:
    return [
        f"--file_system_poll_wait_seconds={int(given.poll_seconds)}",
        f"--rest_api_timeout_in_ms={round(given.timeout_seconds * 1000)}",
        *([f"--monitoring_config_file={MONITORING}"] if given.metrics_path else []),
        *(["--rest_api_enable_cors_support=true"] if given.cors else []),
        *(["--enable_grpc_healthcheck_service=true"] if given.enable_grpc_healthcheck_service else []),
        *([f"--ssl_config_file={Path(given.ssl_config_file).resolve()}"] if given.ssl_config_file else []),
    ]


def docker_command(given: flags.FlagValues, models: list[ModelConfig]) -> str:
    """The same in a container that only this machine reaches; its own ports are the image's."""
    ports = [f"-p 127.0.0.1:{given.grpc_port}:8500", f"-p 127.0.0.1:{given.rest_port}:8501"]
    mounts = [f"-v {shlex.quote(f'{model.base_path}:{model.base_path}:ro')}" for model in models]
    arguments = [*_models(given, models), *_settings(given)]
    # What a flag names must be there under the same name in the container.
    files = [argument.partition("=")[2] for argument in arguments if "_file=" in argument]
    mounts += [f"-v {shlex.quote(f'{file}:{file}:ro')}" for file in files]
    named = [shlex.quote(argument) for argument in arguments]
    return " ".join(["docker run --rm", *ports, *mounts, IMAGE, *named])


def _models(given: flags.FlagValues, models: list[ModelConfig]) -> list[str]:
    if given.model_config_file is None:
        (model,) = models
        return [f"--model_name={model.name}", f"--model_base_path={model.base_path}"]
    arguments = [f"--model_config_file={Path(given.model_config_file).resolve()}"]
    if given.reread_model_config_file:
        arguments.append(f"--model_config_file_poll_wait_seconds={int(given.poll_seconds)}")
    if given.allow_version_labels_for_unavailable_models:
        arguments.append("--allow_version_labels_for_unavailable_models=true")
    return arguments


def _refuse_unknown(given: flags.FlagValues) -> None:
    unknown = [f"--{name}" for name in _UNKNOWN_THERE if given[name].present]
    if unknown:
        raise EngineError(
            f"TensorFlow Serving has no {', '.join(unknown)}: leave it out, or use --engine=embedded"
            + ("; for encryption pass --ssl_config_file." if any("tls" in name for name in unknown) else ".")
        )
    if given.host != EVERY_ADDRESS:
        raise EngineError(
            f"TensorFlow Serving listens on every address of the machine, not only on {given.host}: pass "
            f"--host={EVERY_ADDRESS} if you want that, or use --engine=embedded."
        )
    if not given.grpc_port or not given.rest_port:
        raise EngineError("TensorFlow Serving cannot choose a free port: pass --grpc_port and --rest_port above 0.")
    if given.poll_seconds < 1 or given.poll_seconds != int(given.poll_seconds):
        raise EngineError(
            "--poll_seconds must be a whole number of at least 1 for TensorFlow Serving, received "
            f"{given.poll_seconds}."
        )
    if given.metrics_path not in ("", given["metrics_path"].default):
        raise EngineError(
            f"TensorFlow Serving reads --metrics_path from a file: leave it at {given['metrics_path'].default}, or "
            "run its binary with your own --monitoring_config_file."
        )

"""Serves exports: `python -m export.serve --model_dir=MODELS/NAME [--grpc_port --rest_port --host=127.0.0.1 ...]`.

Offers TensorFlow Serving's gRPC and REST APIs for exports of this project. Prints one line with the addresses when it
is ready. Stops at SIGTERM or Ctrl-C, after answering the running requests.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from absl import flags

from cml_tf.system.command_line import fail, run
from cml_tf.system.processes import end_with_parent
from export.playground.site import address
from export.server.embedded import Options, serve
from export.server.errors import ServingError
from export.server.model_config import ModelConfig, read_config
from export.server.tensorflow_serving import run_tensorflow_serving
from export.server.tls import Tls, from_config, from_files

_MODEL_DIR = flags.DEFINE_string("model_dir", None, "Directory of the model, with one subdirectory per version.")
_MODEL_NAME = flags.DEFINE_string(
    "model_name", None, "Name of the model for clients; the name of --model_dir by default."
)
_CONFIG = flags.DEFINE_string(
    "model_config_file",
    None,
    "File with models, versions and labels in TensorFlow Serving's format, instead of --model_dir.",
)
_REREAD = flags.DEFINE_bool("reread_model_config_file", False, "Read --model_config_file again when it changes.")
_ANY_LABEL = flags.DEFINE_bool(
    "allow_version_labels_for_unavailable_models", False, "Allow labels to point to versions that are not loaded."
)
_HOST = flags.DEFINE_string("host", "127.0.0.1", "Address to listen on; anyone who can reach it can send requests.")
_GRPC_PORT = flags.DEFINE_integer("grpc_port", 8500, "Port for gRPC; 0 for any free port.", 0, 65535)
_REST_PORT = flags.DEFINE_integer("rest_port", 8501, "Port for REST; 0 for any free port.", 0, 65535)
_POLL = flags.DEFINE_float("poll_seconds", 1.0, "Seconds between checks for new versions.", 0.05)
_TIMEOUT = flags.DEFINE_float("timeout_seconds", 30.0, "Longest time for a request, including waiting.", 0.001)
_LARGEST = flags.DEFINE_integer("max_message_bytes", 64 * 2**20, "Largest size of an uncompressed request.", 1024)
_CONCURRENT = flags.DEFINE_integer(
    "max_concurrent_requests", None, "Number of requests that run at once; 2 per processor by default.", 1
)
_QUEUED = flags.DEFINE_integer("max_queued_requests", 256, "Number of requests that may wait.", 0)
_GRACE = flags.DEFINE_float("grace_seconds", 30.0, "Time for running requests to finish when the server stops.", 0)
_METRICS = flags.DEFINE_string(
    "metrics_path", "/monitoring/prometheus/metrics", "Path of the metrics for Prometheus; empty for none."
)
_CORS = flags.DEFINE_bool("cors", False, "Allow pages of any origin to read REST answers.")
_PLAYGROUND = flags.DEFINE_bool("playground", False, "Serve a page to try the models.")
_HEALTH = flags.DEFINE_bool("enable_grpc_healthcheck_service", False, "Offer the health service of gRPC.")
_CERTIFICATE = flags.DEFINE_string("tls_certificate", None, "PEM file of the certificate; encrypts both ports.")
_KEY = flags.DEFINE_string("tls_key", None, "PEM file with the private key of --tls_certificate.")
_CLIENT_CA = flags.DEFINE_string(
    "tls_client_ca", None, "PEM file of an authority; only clients with its certificates may connect."
)
_SSL_CONFIG = flags.DEFINE_string(
    "ssl_config_file", None, "TensorFlow Serving's SSLConfig in text format, instead of the --tls flags."
)
_ENGINE = flags.DEFINE_enum(
    "engine", "embedded", ["embedded", "tfserving"], "Server to run: embedded, or tensorflow_model_server from PATH."
)


def main(arguments: list[str]) -> None:
    """Serves until told to stop."""
    del arguments
    # Started by the quickstart, it ends with it.
    end_with_parent()
    try:
        if _ENGINE.value == "tfserving":
            run_tensorflow_serving(flags.FLAGS, _models().values())
        options = _options()
        asyncio.run(serve(options, lambda grpc_port, rest_port: _tell(options, grpc_port, rest_port)))
    except ServingError as error:
        fail(str(error))


def _options() -> Options:
    return Options(
        models=_models(),
        host=_HOST.value,
        grpc_port=_GRPC_PORT.value,
        rest_port=_REST_PORT.value,
        config_file=Path(_CONFIG.value) if _REREAD.value and _CONFIG.value else None,
        poll_seconds=_POLL.value,
        any_label=_ANY_LABEL.value,
        timeout=_TIMEOUT.value,
        largest=_LARGEST.value,
        concurrent=_CONCURRENT.value or 2 * (os.cpu_count() or 1),
        queued=_QUEUED.value,
        grace=_GRACE.value,
        metrics_path=_METRICS.value,
        cors=_CORS.value,
        health=_HEALTH.value,
        playground=_PLAYGROUND.value,
        tls=_tls(),
    )


def _tls() -> Tls | None:
    files = (_CERTIFICATE.value, _KEY.value, _CLIENT_CA.value)
    if _SSL_CONFIG.value is not None:
        if any(files):
            fail("--ssl_config_file and the --tls flags cannot be combined: use only one of them.")
        return from_config(Path(_SSL_CONFIG.value))
    if not any(files):
        return None
    if _CERTIFICATE.value is None or _KEY.value is None:
        fail("--tls_certificate and --tls_key must be passed together.")
    return from_files(Path(_CERTIFICATE.value), Path(_KEY.value), Path(_CLIENT_CA.value) if _CLIENT_CA.value else None)


def _models() -> dict[str, ModelConfig]:
    if (_MODEL_DIR.value is None) == (_CONFIG.value is None):
        fail(
            "exactly one of --model_dir and --model_config_file must be passed: use --model_dir=MODELS/NAME or "
            "--model_config_file=FILE."
        )
    given, idle = (_MODEL_DIR, (_REREAD, _ANY_LABEL)) if _CONFIG.value is None else (_CONFIG, (_MODEL_NAME,))
    for flag in idle:
        if flag.value:
            fail(f"--{flag.name} has no effect with --{given.name}: leave it out.")
    if _CONFIG.value is not None:
        return read_config(Path(_CONFIG.value))
    directory = Path(str(_MODEL_DIR.value)).resolve()
    if not directory.is_dir():
        fail(
            f"--model_dir must be a directory with versions, received {directory}: create one with "
            "python -m export.savedmodel."
        )
    name = _MODEL_NAME.value or directory.name
    return {name: ModelConfig(name, directory)}


def _tell(options: Options, grpc_port: int, rest_port: int) -> None:
    host = f"[{options.host}]" if ":" in options.host else options.host
    names = ", ".join(options.models)
    rest = f"{'https' if options.tls else 'http'}://{host}:{rest_port}"
    print(f"serving {names}: gRPC {host}:{grpc_port}, REST {rest}/v1/models", flush=True)
    for model in options.models if options.playground else ():
        print(f"playground of {model}: {address(rest, model)}", flush=True)


if __name__ == "__main__":
    run(main)

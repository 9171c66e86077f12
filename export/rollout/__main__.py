"""Moves a label: `python -m export.rollout --address=HOST:8500 --model_config_file=FILE --model=NAME --version=N`.

Loads the new version next to the one that the label points to, waits until it answers, and moves the label. `--back`
moves it to the previous version. FILE is the model configuration file of the servers; it is updated, so that a restart
serves the same versions.
"""

from __future__ import annotations

import re
from contextlib import ExitStack, closing
from pathlib import Path

import grpc
from absl import flags

from cml_tf.system.command_line import fail, run
from export.rollout.config_file import opened
from export.rollout.interruption import interruptible
from export.rollout.running_server import RunningServer
from export.rollout.steps import Rollout

_ADDRESS = flags.DEFINE_list(
    "address", ["127.0.0.1:8500"], "gRPC address, or comma-separated addresses of several replicas."
)
_CONFIG = flags.DEFINE_string("model_config_file", None, "Model configuration file of the servers.", required=True)
_MODEL = flags.DEFINE_string("model", None, "Name of the model in that file.", required=True)
_VERSION = flags.DEFINE_integer("version", None, "Version to which the label will point.", 0)
_BACK = flags.DEFINE_bool("back", False, "Move the label back to its previous version, instead of --version.")
_LABEL = flags.DEFINE_string("label", "stable", "Label to move.")
_UNLOAD = flags.DEFINE_bool("unload_old", False, "Unload the previous version; --back is then not possible.")
_DEADLINE = flags.DEFINE_float("deadline_seconds", 300.0, "Longest time for loading.", 1.0)
_CA = flags.DEFINE_string("tls_ca", None, "PEM file of the authority of the servers; turns on TLS.")
_CERTIFICATE = flags.DEFINE_string(
    "tls_certificate", None, "PEM file of the client certificate, for servers that require one."
)
_KEY = flags.DEFINE_string("tls_key", None, "PEM file with the private key of --tls_certificate.")


def main(arguments: list[str]) -> None:
    """Moves a label."""
    del arguments
    if not _ADDRESS.value:
        fail("--address must name at least one server, received none: pass HOST:PORT.")
    if (_VERSION.value is None) != _BACK.value:
        fail("exactly one of --version and --back must be passed: use --version=N or --back.")
    if not re.fullmatch(r"[A-Za-z0-9_]+", _LABEL.value):
        fail(f"--label must contain only letters, digits and underscores, received {_LABEL.value!r}.")
    if _BACK.value and _UNLOAD.value:
        fail("--back and --unload_old cannot be combined: leave out --unload_old.")
    _move()


def _move() -> None:
    credentials = _credentials()
    with ExitStack() as stack:
        stack.enter_context(interruptible())
        config = stack.enter_context(opened(Path(_CONFIG.value), _MODEL.value))
        servers = [stack.enter_context(closing(RunningServer(address, credentials))) for address in _ADDRESS.value]
        rollout = Rollout(servers, config, _MODEL.value, _LABEL.value, _DEADLINE.value, _tell)
        version = _VERSION.value
        if version is None:
            rollout.back()
        else:
            rollout.to(version, _UNLOAD.value)


def _credentials() -> grpc.ChannelCredentials | None:
    if (_CERTIFICATE.value is None) != (_KEY.value is None):
        fail("--tls_certificate and --tls_key must be passed together.")
    if _CA.value is None:
        if _CERTIFICATE.value is not None:
            fail("--tls_ca must be passed with --tls_certificate.")
        return None
    return grpc.ssl_channel_credentials(_content(_CA.value), _content(_KEY.value), _content(_CERTIFICATE.value))


def _content(path: str | None) -> bytes | None:
    if path is None:
        return None
    try:
        return Path(path).read_bytes()
    except OSError as error:
        fail(f"{path} cannot be read: {error.strerror}.")


def _tell(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    run(main)

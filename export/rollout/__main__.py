"""Moves a label: `python -m export.rollout --address=HOST:8500 --model_config_file=FILE --model=NAME --version=N`.

Loads the version beside the one that the label points to, waits until it answers, moves the label. `--back` moves it to
the version before. The file is the one that the servers were started with; a restart then serves the same.
"""

from __future__ import annotations

import re
from contextlib import ExitStack, closing
from pathlib import Path

import grpc
from absl import flags

from cml_tf.system.command_line import fail, run
from export.rollout.config_file import ConfigFile
from export.rollout.running_server import RunningServer
from export.rollout.steps import Rollout

_ADDRESS = flags.DEFINE_list("address", ["127.0.0.1:8500"], "gRPC address; of several replicas, with commas between.")
_CONFIG = flags.DEFINE_string("model_config_file", None, "The file that the servers serve.", required=True)
_MODEL = flags.DEFINE_string("model", None, "Name of the model in that file.", required=True)
_VERSION = flags.DEFINE_integer("version", None, "That the label shall point to.", 0)
_BACK = flags.DEFINE_bool("back", False, "Instead: to the version that it pointed to before.")
_LABEL = flags.DEFINE_string("label", "stable", "That is moved.")
_UNLOAD = flags.DEFINE_bool("unload_old", False, "Whether the version before is unloaded; --back cannot find it then.")
_DEADLINE = flags.DEFINE_float("deadline_seconds", 300.0, "That loading may take.", 1.0)
_CA = flags.DEFINE_string("tls_ca", None, "PEM file of the servers' authority; encrypts.")
_CERTIFICATE = flags.DEFINE_string("tls_certificate", None, "PEM file, where servers ask clients for one.")
_KEY = flags.DEFINE_string("tls_key", None, "PEM file with its key.")


def main(arguments: list[str]) -> None:
    """Moves a label."""
    del arguments
    if (_VERSION.value is None) != _BACK.value:
        fail("tell where to: either --version=N or --back.")
    if not re.fullmatch(r"[A-Za-z0-9_]+", _LABEL.value):
        fail(f"--label must be letters, digits and underscores, received {_LABEL.value!r}.")
    if _BACK.value and _UNLOAD.value:
        fail("--back keeps both versions; leave out --unload_old.")
    _move()


def _move() -> None:
    credentials = _credentials()
    config = ConfigFile(Path(_CONFIG.value), _MODEL.value)
    with ExitStack() as stack:
        servers = [stack.enter_context(closing(RunningServer(address, credentials))) for address in _ADDRESS.value]
        rollout = Rollout(servers, config, _MODEL.value, _LABEL.value, _DEADLINE.value, _tell)
        version = _VERSION.value
        if version is None:
            rollout.back()
        else:
            rollout.to(version, _UNLOAD.value)


def _credentials() -> grpc.ChannelCredentials | None:
    if (_CERTIFICATE.value is None) != (_KEY.value is None):
        fail("--tls_certificate and --tls_key must be given together.")
    if _CA.value is None:
        if _CERTIFICATE.value is not None:
            fail("--tls_ca must be given to encrypt.")
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

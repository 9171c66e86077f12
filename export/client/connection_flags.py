"""The flags that both programs of the client have."""

from __future__ import annotations

from pathlib import Path

from absl import flags

from export.client.few_shot_client import FewShotClient
from export.client.interface import PADDINGS, Settings

_ADDRESS = flags.DEFINE_string(
    "address", "grpc://127.0.0.1:8500", "grpc://HOST:PORT or http://HOST:PORT; use grpcs or https for TLS."
)
_MODEL = flags.DEFINE_string("model", None, "Name of the model on the server.")
_VERSION = flags.DEFINE_integer("version", None, "Version of the model; the newest by default.", 1)
_LABEL = flags.DEFINE_string("version_label", None, "Label of a version, such as stable, instead of --version.")
_TIMEOUT = flags.DEFINE_float(
    "timeout_seconds", 30.0, "Longest time for one attempt; over gRPC, for all attempts together."
)
_ATTEMPTS = flags.DEFINE_integer(
    "attempts", 4, "Largest number of attempts while the server is unreachable or busy.", 1, 5
)
_AUTHORITY = flags.DEFINE_string(
    "ca_certificate", None, "PEM file of the authority that signed the certificate of the server."
)
_CERTIFICATE = flags.DEFINE_string(
    "certificate", None, "PEM file of the certificate of the client, for servers that require one."
)
_KEY = flags.DEFINE_string("key", None, "PEM file of the private key of --certificate.")
_PADDING = flags.DEFINE_enum(
    "padding", "auto", list(PADDINGS), "Pad to the shape buckets of the model: if it has any (auto), always or never."
)
_SPLIT = flags.DEFINE_bool(
    "split_queries",
    False,
    "Send more queries than a bucket allows in parts; only if the model card says that queries are independent.",
)
_TASKS = flags.DEFINE_integer(
    "tasks_per_request", 16, "Largest number of tasks per request; servers that batch requests refuse more.", 1
)


def client(model: str | None = None) -> FewShotClient:
    """A client as the flags say.

    Args:
      model: its name, where a file tells it; --model then may be left out.

    Raises:
      ClientError: if a flag is no good.
    """
    authority, certificate, key = (_path(flag.value) for flag in (_AUTHORITY, _CERTIFICATE, _KEY))
    settings = Settings(
        _TIMEOUT.value,
        _ATTEMPTS.value,
        authority,
        certificate,
        key,
        _PADDING.value,
        _SPLIT.value,
        _TASKS.value,
    )
    return FewShotClient(
        _ADDRESS.value, _MODEL.value or model or "", settings, version=_VERSION.value, version_label=_LABEL.value
    )


def _path(text: str | None) -> Path | None:
    return Path(text) if text else None

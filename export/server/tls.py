"""Encryption: a certificate with its key, and the authority that clients must be known to."""

from __future__ import annotations

import os
import ssl
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format
from google.protobuf.message import Message

from cml_tf.errors import UserError


class TlsError(UserError):
    """Files that cannot be used; the message says which and why."""


@dataclass(frozen=True)
class Tls:
    """What both ports of the server encrypt with. All in PEM form.

    Attributes:
      certificate: of the server, followed by those between it and its authority.
      key: of the certificate, without a passphrase.
      client_ca: authorities whose clients are let in; None lets everybody in.
    """

    certificate: bytes
    key: bytes
    client_ca: bytes | None = None

    def __post_init__(self) -> None:
        self.context()

    def context(self) -> ssl.SSLContext:
        """For REST.

        Raises:
          TlsError: if the parts are no PEM, or do not fit together.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        with ExitStack() as stack:
            certificate, key = (_path(content, stack) for content in (self.certificate, self.key))
            try:
                context.load_cert_chain(certificate, key, password=_refuse_passphrase)
            except (ssl.SSLError, ValueError) as error:
                raise TlsError(
                    f"the certificate and the key must be PEM files that belong together: {_reason(error)}"
                ) from error
        if self.client_ca is not None:
            try:
                context.load_verify_locations(cadata=self.client_ca.decode("ascii"))
            except (ssl.SSLError, ValueError) as error:
                raise TlsError(f"the authority of the clients must be a PEM certificate: {_reason(error)}") from error
            context.verify_mode = ssl.CERT_REQUIRED
        return context

    def credentials(self) -> grpc.ServerCredentials:
        """For gRPC."""
        return grpc.ssl_server_credentials(
            [(self.key, self.certificate)], self.client_ca, require_client_auth=self.client_ca is not None
        )


def from_files(certificate: Path, key: Path, client_ca: Path | None) -> Tls:
    """Reads PEM files.

    Raises:
      TlsError: if one cannot be read, or they do not fit together.
    """
    return Tls(_read(certificate), _read(key), _read(client_ca) if client_ca is not None else None)


def from_config(path: Path) -> Tls:
    """Reads TensorFlow Serving's `SSLConfig` in text form, which holds PEM contents, not paths.

    Raises:
      TlsError: if it cannot be read, misses a part, or its parts do not fit together.
    """
    try:
        config = text_format.Parse(_read(path).decode("utf-8"), _ssl_config_class()())
    except (UnicodeDecodeError, text_format.ParseError) as error:
        raise TlsError(f"{path} must contain an SSLConfig in text form: {error}") from error
    values = {field: getattr(config, field) for field in ("server_cert", "server_key")}
    if config.client_verify:
        values["custom_ca"] = config.custom_ca
    missing = [field for field, value in values.items() if not value]
    if missing:
        raise TlsError(f"{path} must contain {' and '.join(missing)} as PEM text, but it is missing.")
    contents = {field: value.encode() for field, value in values.items()}
    return Tls(contents["server_cert"], contents["server_key"], contents.get("custom_ca"))


def _ssl_config_class() -> type[Message]:
    """The message; the Python package of TensorFlow Serving does not ship it."""
    file = descriptor_pb2.FileDescriptorProto(name="ssl_config.proto", package="tensorflow.serving", syntax="proto3")
    message = file.message_type.add(name="SSLConfig")
    kinds = descriptor_pb2.FieldDescriptorProto
    for number, name in enumerate(("server_key", "server_cert", "custom_ca", "client_verify"), start=1):
        kind = kinds.TYPE_BOOL if name == "client_verify" else kinds.TYPE_STRING
        message.field.add(name=name, number=number, type=kind, label=kinds.LABEL_OPTIONAL)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("tensorflow.serving.SSLConfig"))


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise TlsError(f"{path} cannot be read: {error.strerror}.") from error


def _path(content: bytes, stack: ExitStack) -> str:
    """A name for bytes in memory: Python's ssl takes names only, and a key has no business in a temporary directory."""
    file = stack.enter_context(os.fdopen(os.memfd_create("pem"), "wb"))
    file.write(content)
    file.flush()
    return f"/proc/self/fd/{file.fileno()}"


def _refuse_passphrase() -> str:
    raise ValueError("the key has a passphrase: remove it, since the server cannot enter it.")


def _reason(error: Exception) -> str:
    reason = getattr(error, "reason", None)
    if reason == "KEY_VALUES_MISMATCH":
        return "the key belongs to another certificate."
    return str(error)

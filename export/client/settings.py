"""How a client talks, and which version it asks."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path

from export.client.errors import ClientError

PADDINGS = ("auto", "always", "never")


@dataclass(frozen=True)
class Settings:
    """How a client talks.

    Attributes:
      timeout: seconds that one attempt may take (over gRPC: all of them together).
      attempts: how often a request is sent at most, from 1 to 5, while the server is unreachable or busy.
      ca_certificate: PEM file of who vouches for the server; None for those that the system trusts.
      certificate: PEM file of the client itself, for servers that ask for one; None for none.
      key: PEM file of its private key.
      padding: `auto` pads every request to a shape bucket where the model was exported with some, so that a server that
        joins requests can join them; `always` refuses other models; `never` sends requests in their own size.
      split_queries: whether more queries than the largest bucket holds are asked in parts. Only right for models of
        which the card says that a prediction does not depend on the other queries.
      tasks_per_request: most tasks in one request; at most the `max_batch_size` of a server that joins requests.
    """

    timeout: float = 30.0
    attempts: int = 4
    ca_certificate: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    padding: str = "auto"
    split_queries: bool = False
    tasks_per_request: int = 16

    def __post_init__(self) -> None:
        if not 0 < self.timeout < float("inf"):
            raise ClientError(f"timeout must be a positive number of seconds, received {self.timeout}.")
        if self.attempts not in range(1, 6):
            raise ClientError(f"attempts must be from 1 to 5, received {self.attempts}.")
        if self.padding not in PADDINGS:
            raise ClientError(f"padding must be one of {', '.join(PADDINGS)}, received {self.padding!r}.")
        if self.tasks_per_request < 1:
            raise ClientError(f"tasks_per_request must be 1 or more, received {self.tasks_per_request}.")
        if (self.certificate is None) != (self.key is None):
            raise ClientError("certificate and key belong together: give both or neither.")
        for path in (self.ca_certificate, self.certificate, self.key):
            if path is not None and not path.is_file():
                raise ClientError(f"{path} must be a PEM file, and is no file.")
        if self.ca_certificate is not None or self.certificate is not None:
            self._check_certificates()

    def _check_certificates(self) -> None:
        # gRPC would say of all of them only that nobody can be reached.
        try:
            context = ssl.create_default_context(cafile=self.ca_certificate)
            if self.certificate is not None:
                context.load_cert_chain(self.certificate, self.key, password=lambda: "")
        except (OSError, ValueError) as error:
            given = ", ".join(str(path) for path in (self.ca_certificate, self.certificate, self.key) if path)
            raise ClientError(f"{given} must be PEM files, certificate and key of one another: {error}.") from error


@dataclass(frozen=True)
class Choice:
    """Which version answers: a number, a label, or (neither) the newest."""

    version: int | None = None
    label: str | None = None

    def __post_init__(self) -> None:
        if self.version is not None and self.label is not None:
            raise ClientError("choose a version or a label, not both.")
        if self.version is not None and not 0 <= self.version < 2**63:
            raise ClientError(f"a version is a number from 0 to 2**63 - 1, received {self.version}.")

    def __str__(self) -> str:
        return f"the label {self.label}" if self.label is not None else f"version {self.version}"

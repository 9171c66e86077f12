"""What a client has to know before it asks: what the model takes and gives, which version it means, and how to talk."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from export.client.errors import ClientError

_DTYPES = {"DT_FLOAT": "float32", "DT_INT32": "int32", "DT_STRING": "object"}
PADDINGS = ("auto", "always", "never")


@dataclass(frozen=True)
class Interface:
    """A version of a model.

    Attributes:
      version: its number.
      input_shape: of one example; empty for nodes.
      outputs: ways of a classification, values a query of a regression.
      classification: whether it answers with class probabilities.
      takes_files: whether it decodes image files itself.
      dtypes: NumPy's name for every output, by signature and output.
      node_features: how many features a node has; None for models that do not classify nodes of a graph.
      shapes: of every input, -1 for sizes that are free, by signature and input.
    """

    version: int
    input_shape: tuple[int, ...]
    outputs: int
    classification: bool
    takes_files: bool
    dtypes: Mapping[str, Mapping[str, str]]
    node_features: int | None = None
    shapes: Mapping[str, Mapping[str, tuple[int, ...]]] = field(default_factory=dict)

    @property
    def adapts_first(self) -> bool:
        """Whether a task can be adapted to once and asked later."""
        return "adapt" in self.dtypes

    @property
    def state_grows(self) -> bool:
        """Whether an adapted state is the longer, the more support examples there are."""
        return "adapted_length" in self.dtypes.get("adapt", {})

    @property
    def bounded(self) -> bool:
        """Whether requests may set inner steps and rate."""
        return "adapt_bounded" in self.dtypes

    @property
    def compact(self) -> bool:
        """Whether adapted states come in few bytes."""
        return "adapt_compact" in self.dtypes

    @property
    def support(self) -> str:
        """The name of the input with the support examples."""
        return "support_inputs" if self.node_features is None else "support_nodes"

    @property
    def query(self) -> str:
        """The name of the input with the queries."""
        return "query_inputs" if self.node_features is None else "query_nodes"

    @property
    def targets(self) -> str:
        """The name of the input with what the support examples are."""
        return "support_labels" if self.classification else "support_targets"

    @property
    def answer(self) -> str:
        """The name of the output with the predictions."""
        return "probabilities" if self.classification else "predictions"


def read_interface(version: int, signatures: Mapping[str, Any]) -> Interface:
    """Understands the signatures of a version.

    Args:
      version: its number.
      signatures: SignatureDefs by name, as JSON with the field names of the protocol buffer.

    Raises:
      ClientError: if it is not an export of this project.
    """
    try:
        inputs = signatures["serving_default"]["inputs"]
        node_features = _sizes(inputs["node_features"])[-1] if "node_features" in inputs else None
        support = inputs["support_inputs" if node_features is None else "support_nodes"]
        predictions = signatures["serving_default"]["outputs"]
        classification = "probabilities" in predictions
        # TensorFlow lists an operation of its own among them.
        ours = {name: its for name, its in signatures.items() if not name.startswith("__")}
        return Interface(
            version,
            _sizes(support)[2:],
            _sizes(predictions["probabilities" if classification else "predictions"])[-1],
            classification,
            "adapt_and_predict_bytes" in signatures,
            {name: _dtypes(its["outputs"]) for name, its in ours.items()},
            node_features,
            {name: {key: _sizes(tensor) for key, tensor in its["inputs"].items()} for name, its in ours.items()},
        )
    except (KeyError, IndexError, TypeError, ValueError) as error:
        found = ", ".join(sorted(signatures)) or "none"
        raise ClientError(
            "the model must be an export of python -m export.savedmodel, with a signature serving_default that adapts "
            f"and predicts, received signatures {found}: use another model."
        ) from error


def _sizes(tensor: Mapping[str, Any]) -> tuple[int, ...]:
    return tuple(int(axis["size"]) for axis in tensor["tensor_shape"].get("dim", []))


def _dtypes(outputs: Mapping[str, Any]) -> dict[str, str]:
    return {name: _DTYPES[tensor["dtype"]] for name, tensor in outputs.items()}


@dataclass(frozen=True)
class Settings:
    """How a client talks.

    Example:
      >>> Settings(timeout=5.0, attempts=2).tasks_per_request
      16

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
            raise ClientError("certificate and key must be passed together: pass both or neither.")
        for path in (self.ca_certificate, self.certificate, self.key):
            if path is not None and not path.is_file():
                raise ClientError(f"{path} must be a PEM file, but is not a file: check the path.")
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
            raise ClientError(f"{given} must be PEM files of a certificate and its key: {error}.") from error


@dataclass(frozen=True)
class Choice:
    """Which version answers: a number, a label, or (neither) the newest."""

    version: int | None = None
    label: str | None = None

    def __post_init__(self) -> None:
        if self.version is not None and self.label is not None:
            raise ClientError("version and label cannot be combined: use only one of them.")
        if self.version is not None and not 0 <= self.version < 2**63:
            raise ClientError(f"version must be from 0 to 2**63 - 1, received {self.version}.")

    def __str__(self) -> str:
        return f"the label {self.label}" if self.label is not None else f"version {self.version}"

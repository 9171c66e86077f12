"""What a served model takes and gives, from its metadata."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from export.client.errors import ClientError

_DTYPES = {"DT_FLOAT": "float32", "DT_INT32": "int32", "DT_STRING": "object"}


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
        inputs = signatures["adapt"]["inputs"]
        node_features = _sizes(inputs["node_features"])[-1] if "node_features" in inputs else None
        support = inputs["support_inputs" if node_features is None else "support_nodes"]
        predictions = signatures["predict"]["outputs"]
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
            "the model must be one that python -m export.savedmodel made, with the signatures adapt and predict; this "
            f"one has {found}. Ask for another model."
        ) from error


def _sizes(tensor: Mapping[str, Any]) -> tuple[int, ...]:
    return tuple(int(axis["size"]) for axis in tensor["tensor_shape"].get("dim", []))


def _dtypes(outputs: Mapping[str, Any]) -> dict[str, str]:
    return {name: _DTYPES[tensor["dtype"]] for name, tensor in outputs.items()}

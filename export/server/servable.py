"""One version of a model, loaded: its signatures and the session that runs them."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorflow.core.framework import types_pb2
from tensorflow.core.protobuf import meta_graph_pb2, saved_model_pb2

from cml_tf.system.machine import WOULD_DIE, bfloat16_works
from cml_tf.system.manifest import DamagedFile
from export.server.errors import ServingError, from_tensorflow
from export.versions import check_files

DEFAULT_SIGNATURE = "serving_default"
_TAG = "serve"
_INITIALISER = "__saved_model_init_op"

Arrays = dict[str, np.ndarray]


class Servable:
    """A SavedModel in a graph and session of its own, so versions share nothing and closing one frees it.

    Args:
      directory: of the version.

    Attributes:
      signatures: SignatureDef messages by name, as in the file.

    Raises:
      ServingError: if there is no whole SavedModel in it, a file is not what its manifest says, or it computes in
        bfloat16 and this machine does not.
    """

    def __init__(self, directory: Path) -> None:
        try:
            check_files(directory)
        except DamagedFile as error:
            raise ServingError("DATA_LOSS", str(error)) from error
        meta_graph = _read_meta_graph(directory)
        if _in_bfloat16(meta_graph) and not bfloat16_works():
            raise ServingError("FAILED_PRECONDITION", f"the model in {directory} is in bfloat16, which {WOULD_DIE}.")
        self.signatures: dict[str, meta_graph_pb2.SignatureDef] = dict(meta_graph.signature_def)
        _forget_input_shapes(meta_graph)
        graph = tf.Graph()
        with graph.as_default():
            self._session = tf.compat.v1.Session(graph=graph)
            try:
                saver = tf.compat.v1.train.import_meta_graph(meta_graph)
                if saver is not None:
                    saver.restore(self._session, str(directory / "variables" / "variables"))
                self._initialise(graph, directory, meta_graph)
            except tf.errors.OpError as error:
                self._session.close()
                raise from_tensorflow(error) from error
            except ValueError as error:
                # Among them: variables that are not there.
                self._session.close()
                raise ServingError("NOT_FOUND", f"the SavedModel in {directory} is incomplete: {error}") from error

    def run(self, signature: str, inputs: Mapping[str, np.ndarray], outputs: Iterable[str], timeout: float) -> Arrays:
        """Runs a signature.

        Args:
          signature: its name.
          inputs: an array for each of its inputs, of its dtype and of any shape; bytes as arrays of objects.
          outputs: which of its outputs.
          timeout: seconds after which the work in the graph stops.

        Raises:
          ServingError: with what the graph says against the inputs, or if there was not enough time.
        """
        definition = self.signatures[signature]
        feeds = {definition.inputs[name].name: array for name, array in inputs.items()}
        fetches = {name: definition.outputs[name].name for name in outputs}
        options = tf.compat.v1.RunOptions(timeout_in_ms=max(1, round(timeout * 1000)))
        try:
            answer = self._session.run(fetches, feeds, options=options)
        except tf.errors.OpError as error:
            raise from_tensorflow(error) from error
        # A string without axes comes as bytes.
        return {name: np.asarray(value, object if isinstance(value, bytes) else None) for name, value in answer.items()}

    def close(self) -> None:
        """Frees the variables; no request may be running."""
        self._session.close()

    def _initialise(self, graph: tf.Graph, directory: Path, meta_graph: meta_graph_pb2.MetaGraphDef) -> None:
        if _INITIALISER not in self.signatures:
            return
        operation = graph.get_operation_by_name(self.signatures[_INITIALISER].outputs[_INITIALISER].name)
        assets = {
            asset.tensor_info.name: str(directory / "assets" / asset.filename) for asset in meta_graph.asset_file_def
        }
        self._session.run(operation, assets)


def _read_meta_graph(directory: Path) -> meta_graph_pb2.MetaGraphDef:
    path = directory / "saved_model.pb"
    try:
        saved_model = saved_model_pb2.SavedModel.FromString(path.read_bytes())
    except FileNotFoundError as error:
        raise ServingError(
            "NOT_FOUND",
            f"Specified file path does not appear to contain a SavedModel bundle (should have a file called "
            f"`saved_model.pb`)\nSpecified file path: {directory}",
        ) from error
    except (DecodeError, OSError) as error:
        raise ServingError("DATA_LOSS", f"{path} cannot be read as a SavedModel: {error}") from error
    for meta_graph in saved_model.meta_graphs:
        if set(meta_graph.meta_info_def.tags) == {_TAG}:
            return meta_graph
    raise ServingError("NOT_FOUND", f"{path} must contain a graph with the tag {_TAG!r}, received none.")


def _in_bfloat16(meta_graph: meta_graph_pb2.MetaGraphDef) -> bool:
    graph = meta_graph.graph_def
    nodes = itertools.chain(graph.node, *(function.node_def for function in graph.library.function))
    return any("T" in node.attr and node.attr["T"].type == types_pb2.DT_BFLOAT16 for node in nodes)


def _forget_input_shapes(meta_graph: meta_graph_pb2.MetaGraphDef) -> None:
    """TensorFlow Serving compares names and dtypes only; a session in Python would refuse a shape in its own words."""
    feeds = {tensor.name for definition in meta_graph.signature_def.values() for tensor in definition.inputs.values()}
    for node in meta_graph.graph_def.node:
        if node.op == "Placeholder" and f"{node.name}:0" in feeds:
            node.attr["shape"].shape.Clear()
            node.attr["shape"].shape.unknown_rank = True
            node.attr.pop("_output_shapes", None)

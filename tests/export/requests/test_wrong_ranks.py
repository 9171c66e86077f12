"""A tensor of wrong shape is an error of its request; without a check of ranks it would end the whole server.

As a program it calls every signature of SavedModels with every input in every wrong shape, and prints what came of each
call as JSON: {"model signature input [shape]": the error or null}. That is a process of its own, since what is looked
for is its end: a tensor of wrong rank in a convolution aborts.
"""

import json
import sys

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import config_pb2

from tests.helpers.programs import run_python

pytestmark = pytest.mark.slow


def test_every_wrong_shape_of_every_input_is_an_error_of_the_request(images, nodes):
    # Not at the top: the program needs nothing of the project.
    from export.graph.specifications import input_specifications

    models = [str(served.directory) for served in (images, nodes)]
    # oneDNN is what aborts.
    done = run_python("-m", "tests.export.requests.test_wrong_ranks", *models, TF_ENABLE_ONEDNN_OPTS="1")
    assert done.code == 0, done.err[-2000:]
    outcomes = done.last_json
    wrong = {call: outcome for call, outcome in outcomes.items() if not call.endswith("as it should be")}
    assert {outcomes[call] for call in outcomes.keys() - wrong.keys()} == {None} and len(wrong) > 80
    # The message is that of the check at the boundary: nothing further on gets to see the tensor.
    told = ("InvalidArgumentError: Shape of tensor", "is not compatible with expected shape")
    assert {call: error for call, error in wrong.items() if not error or any(part not in error for part in told)} == {}
    for served in (images, nodes):
        for signature, specifications in input_specifications(served.model).items():
            for name, specification in specifications.items():
                tried = [call for call in wrong if call.startswith(f"{served.directory} {signature} {name} [")]
                ranks = {call.count(",") + (not call.endswith("[]")) for call in tried}
                assert ranks >= set(range(specification.shape.rank + 2)) - {specification.shape.rank}


def _outcomes(model):
    """Name of the call, and its error or None, for every wrong shape."""
    session = tf.compat.v1.Session(graph=tf.Graph())
    with session.graph.as_default():
        signatures = tf.compat.v1.saved_model.loader.load(session, ["serve"], model).signature_def
    for signature, definition in sorted(signatures.items()):
        if signature.startswith("__"):
            continue
        right = {name: _zeros(tensor) for name, tensor in definition.inputs.items()}
        # By names, as a C++ server does: `Session.run` would compare shapes in Python first.
        feeds, fetches = ([tensor.name for tensor in part.values()] for part in (definition.inputs, definition.outputs))
        run = session._make_callable_from_options(config_pb2.CallableOptions(feed=feeds, fetch=fetches))
        yield f"{signature} as it should be", _attempt(run, right)
        for name, value in right.items():
            for shape in _wrong_shapes(value.shape):
                wrong = np.full(shape, b"", object) if value.dtype == object else np.zeros(shape, value.dtype)
                yield f"{signature} {name} {list(shape)}", _attempt(run, {**right, name: wrong})


def _zeros(tensor):
    """Of the shape that the signature says, 2 for what is free."""
    shape = [2 if axis.size == -1 else axis.size for axis in tensor.tensor_shape.dim]
    dtype = tf.as_dtype(tensor.dtype)
    return np.full(shape, b"", object) if dtype == tf.string else np.zeros(shape, dtype.as_numpy_dtype)


def _wrong_shapes(shape):
    """Every other rank up to one more, REST's empty list, and fixed axes of another size."""
    yield from (shape[:rank] for rank in range(len(shape)))
    yield from ((*shape, 1), (0,) if len(shape) != 1 else (0, 0))
    for axis in range(2, len(shape)):
        yield tuple(size + 1 if position == axis else size for position, size in enumerate(shape))


def _attempt(run, values):
    try:
        run(*values.values())
    except tf.errors.OpError as error:
        return f"{type(error).__name__}: {error}"
    return None


if __name__ == "__main__":
    print(json.dumps({f"{model} {call}": outcome for model in sys.argv[1:] for call, outcome in _outcomes(model)}))

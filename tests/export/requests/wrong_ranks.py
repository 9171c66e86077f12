"""Calls every signature of SavedModels with every input in every wrong shape, and reports what came of each call.

    python wrong_ranks.py MODEL...

A process of its own, since what is looked for is its end: a tensor of wrong rank in a convolution aborts. The last line
is JSON: {"model signature input [shape]": the error or null}.
"""

import json
import sys

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import config_pb2


def main(*models):
    """Tries all and prints."""
    print(json.dumps({f"{model} {call}": outcome for model in models for call, outcome in outcomes(model)}))


def outcomes(model):
    """(name of the call, its error or None) for every wrong shape."""
    session = tf.compat.v1.Session(graph=tf.Graph())
    with session.graph.as_default():
        signatures = tf.compat.v1.saved_model.loader.load(session, ["serve"], model).signature_def
    for signature, definition in sorted(signatures.items()):
        if signature.startswith("__"):
            continue
        right = {name: right_value(tensor) for name, tensor in definition.inputs.items()}
        feeds = [definition.inputs[name].name for name in right]
        run = callable_of(session, feeds, [tensor.name for tensor in definition.outputs.values()])
        yield f"{signature} as it should be", attempt(run, right, right)
        for name, value in right.items():
            for shape in wrong_shapes(value.shape):
                wrong = np.full(shape, b"", object) if value.dtype == object else np.zeros(shape, value.dtype)
                yield f"{signature} {name} {list(shape)}", attempt(run, right, {**right, name: wrong})


def right_value(tensor):
    """Zeros of the shape that the signature says, 2 for what is free."""
    shape = [2 if axis.size == -1 else axis.size for axis in tensor.tensor_shape.dim]
    dtype = tf.as_dtype(tensor.dtype)
    return np.full(shape, b"", object) if dtype == tf.string else np.zeros(shape, dtype.as_numpy_dtype)


def wrong_shapes(shape):
    """Every other rank up to one more, REST's empty list, and fixed axes of another size."""
    yield from (shape[:rank] for rank in range(len(shape)))
    yield (*shape, 1)
    yield (0,) if len(shape) != 1 else (0, 0)
    for axis in range(2, len(shape)):
        yield tuple(size + 1 if position == axis else size for position, size in enumerate(shape))


def callable_of(session, feeds, fetches):
    """Runs by names, as a C++ server does: `Session.run` would compare shapes in Python first."""
    options = config_pb2.CallableOptions(feed=feeds, fetch=fetches)
    return session._make_callable_from_options(options)


def attempt(run, names, values):
    """Type and message of the error that a call ends with, or None."""
    try:
        run(*(values[name] for name in names))
    except tf.errors.OpError as error:
        return f"{type(error).__name__}: {error}"
    return None


if __name__ == "__main__":
    main(*sys.argv[1:])

"""The signatures: which inputs each one takes and which outputs it gives.

Axis 0 of everything counts tasks: a task is the batch element, so a server that joins requests on axis 0 is right, and
so is REST's row form. Numbers of tasks, examples, nodes and edges are free; ways and an example's shape are not.
"""

from __future__ import annotations

import tensorflow as tf

from export.exportable import Exportable

DEFAULT, PADDED, BYTES = "serving_default", "adapt_and_predict_padded", "adapt_and_predict_bytes"
ADAPT, PREDICT, INITIAL = "adapt", "predict", "initial_state"

Specifications = dict[str, tf.TensorSpec]


def target_name(model: Exportable) -> str:
    """`support_labels` or `support_targets`."""
    return "support_labels" if model.classification else "support_targets"


def answer_name(model: Exportable) -> str:
    """`probabilities` or `predictions`."""
    return "probabilities" if model.classification else "predictions"


def input_specifications(model: Exportable) -> dict[str, Specifications]:
    """The inputs of every signature of this model, by name.

    Classification labels are int32 `[tasks, support]`, regression targets float32 `[tasks, support, outputs]`, sizes
    int32 `[tasks]`, the bytes of image files strings `[tasks, examples]`; examples and context are as the form of the
    model's requests says, adapted states float32.
    """
    form = model.form
    if model.classification:
        targets = tf.TensorSpec([None, None], tf.int32)
    else:
        targets = tf.TensorSpec([None, None, model.problem.outputs], tf.float32)
    sizes, files = tf.TensorSpec([None], tf.int32), tf.TensorSpec([None, None], tf.string)
    support = {**form.context, form.support: form.examples, target_name(model): targets}
    query = {form.query: form.examples}
    # The length of the state is left open: a state of another model is told by its status, not by a shape error.
    state = {"adapted_state": tf.TensorSpec([None, None], tf.float32), "model_fingerprint": sizes}
    signatures = {
        DEFAULT: {**support, **query},
        PADDED: {**support, **query, **form.context_sizes, "support_size": sizes, "query_size": sizes},
        ADAPT: support,
        INITIAL: support,
        PREDICT: {**state, **form.context, **query},
    }
    if model.takes_images:
        signatures[BYTES] = {
            "support_inputs_bytes": files,
            target_name(model): targets,
            "query_inputs_bytes": files,
        }
    return {
        signature: {name: tf.TensorSpec(spec.shape, spec.dtype, name) for name, spec in specifications.items()}
        for signature, specifications in signatures.items()
    }


def output_specifications(model: Exportable) -> dict[str, Specifications]:
    """What one task (no task axis) answers, by signature and name."""
    answer = {answer_name(model): tf.TensorSpec([None, model.problem.outputs], tf.float32)}
    status = {"status": tf.TensorSpec([], tf.int32)}
    losses = {
        "support_loss_before": tf.TensorSpec([], tf.float32),
        "support_loss_after": tf.TensorSpec([], tf.float32),
    }
    state = {
        "adapted_state": tf.TensorSpec([model.state_size], tf.float32),
        "model_fingerprint": tf.TensorSpec([], tf.int32),
    }
    whole = {**answer, **status, **losses}
    signatures = {
        DEFAULT: whole,
        PADDED: whole,
        ADAPT: {**state, **status, **losses},
        INITIAL: {**state, **status},
        PREDICT: {**answer, **status},
    }
    return {**signatures, BYTES: whole} if model.takes_images else signatures

"""The signatures: which inputs each one takes and which outputs it gives.

Axis 0 of everything counts tasks: a task is the batch element, so a server that joins requests on axis 0 is right, and
so is REST's row form. Numbers of tasks, examples, nodes and edges are free; ways and an example's shape are not.
"""

from __future__ import annotations

import tensorflow as tf

from export.graph.bounds import ADAPT_BOUNDED, WHOLE_BOUNDED
from export.graph.buckets import (
    ADAPT_PADDED,
    BYTES_PADDED,
    PADDED,
    PREDICT_PADDED,
    base_of,
    bucket_signatures,
)
from export.graph.compact import ADAPT_COMPACT, PREDICT_COMPACT
from export.graph.exportable import Exportable

DEFAULT, BYTES = "serving_default", "adapt_and_predict_bytes"
ADAPT, PREDICT, INITIAL = "adapt", "predict", "initial_state"

Specifications = dict[str, tf.TensorSpec]


def input_specifications(model: Exportable) -> dict[str, Specifications]:
    """The inputs of every signature of this model, by name.

    Classification labels are int32 `[tasks, support]`, regression targets float32 `[tasks, support, outputs]`, sizes
    int32 `[tasks]`, the bytes of image files strings `[tasks, examples]`; examples and context are as the form of the
    model's requests says, adapted states float32; where their length depends on the support set it is an
    input and an output of its own. A model that adapts to its queries has no signatures that adapt first and answer
    later. Signatures of a bucket have its numbers of examples. What requests may set (`export.graph.bounds`) and
    compact states (`export.graph.compact`) have signatures of their own.
    """
    of_any_size = traced_specifications(model)
    signatures = {
        name: its for name, its in of_any_size.items() if name not in (ADAPT_PADDED, PREDICT_PADDED, BYTES_PADDED)
    }
    for name, bucket in bucket_signatures(model).items():
        base = of_any_size[bucket.base]
        fixed = {
            key: tf.TensorSpec([None, size, *base[key].shape[2:]], base[key].dtype, key)
            for key, size in bucket.sizes.items()
        }
        signatures[name] = {**base, **fixed}
    return signatures


def traced_specifications(model: Exportable) -> dict[str, Specifications]:
    """The same of every function that is traced: the signatures of any size, and those that buckets are cases of."""
    form = model.form
    if model.classification:
        targets = tf.TensorSpec([None, None], tf.int32)
    else:
        targets = tf.TensorSpec([None, None, model.problem.outputs], tf.float32)
    sizes, files = tf.TensorSpec([None], tf.int32), tf.TensorSpec([None, None], tf.string)
    support = {**form.context, form.support: form.examples, model.target_name: targets}
    query = {form.query: form.examples}
    # The length of the state is left open: a state of another model is told by its status, not by a shape error.
    state = {"adapted_state": tf.TensorSpec([None, None], tf.float32), "model_fingerprint": sizes}
    if model.state_grows:
        state["adapted_length"] = sizes
    both = {"support_size": sizes, "query_size": sizes}
    signatures = {DEFAULT: {**support, **query}, PADDED: {**support, **query, **form.context_sizes, **both}}
    if model.packs:
        signatures |= {
            ADAPT: support,
            PREDICT: {**state, **form.context, **query},
            ADAPT_PADDED: {**support, "support_size": sizes},
            PREDICT_PADDED: {**state, **query, "query_size": sizes},
        }
    if model.packs and model.rule.steps is not None:
        signatures[INITIAL] = support
    if model.bounds is not None:
        signatures[WHOLE_BOUNDED] = {**support, **query, **model.bounds.inputs}
        signatures[ADAPT_BOUNDED] = {**support, **model.bounds.inputs}
    if model.compact is not None:
        state = {**model.compact.inputs, "model_fingerprint": sizes}
        signatures |= {ADAPT_COMPACT: support, PREDICT_COMPACT: {**state, **form.context, **query}}
    if model.takes_images:
        signatures[BYTES] = {
            "support_inputs_bytes": files,
            model.target_name: targets,
            "query_inputs_bytes": files,
        }
        signatures[BYTES_PADDED] = {**signatures[BYTES], **both}
    return {
        signature: {name: tf.TensorSpec(spec.shape, spec.dtype, name) for name, spec in specifications.items()}
        for signature, specifications in signatures.items()
    }


def output_specifications(model: Exportable) -> dict[str, Specifications]:
    """What one task (no task axis) answers, by signature or traced function, and name."""
    answer = model.query_outputs
    status = {"status": tf.TensorSpec([], tf.int32)}
    losses = {
        "support_loss_before": tf.TensorSpec([], tf.float32),
        "support_loss_after": tf.TensorSpec([], tf.float32),
    }
    state = {
        "adapted_state": tf.TensorSpec([None if model.state_grows else model.state_size(0)], tf.float32),
        "model_fingerprint": tf.TensorSpec([], tf.int32),
    }
    if model.state_grows:
        state["adapted_length"] = tf.TensorSpec([], tf.int32)
    whole, adapted, predicted = {**answer, **status, **losses}, {**state, **status, **losses}, {**answer, **status}
    of_functions = {
        DEFAULT: whole,
        PADDED: whole,
        BYTES: whole,
        BYTES_PADDED: whole,
        ADAPT: adapted,
        ADAPT_PADDED: adapted,
        INITIAL: {**state, **status},
        PREDICT: predicted,
        PREDICT_PADDED: predicted,
    }
    if model.compact is not None:
        compact = {**model.compact.outputs, "model_fingerprint": state["model_fingerprint"]}
        of_functions |= {ADAPT_COMPACT: {**compact, **status, **losses}, PREDICT_COMPACT: predicted}
    if model.bounds is not None:
        # Nobody asked them before there were compact states: theirs are of the kind that was chosen.
        small = adapted if model.compact is None else of_functions[ADAPT_COMPACT]
        of_functions[WHOLE_BOUNDED] = {**whole, **model.bounds.outputs}
        of_functions[ADAPT_BOUNDED] = {**small, **model.bounds.outputs}
    names = {*input_specifications(model), *traced_specifications(model)}
    return {name: of_functions[base_of(model, name)] for name in names}

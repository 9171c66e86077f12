"""Everything that a meta-step uses has a kernel for GPUs in the installed TensorFlow. No GPU is needed to look."""

from __future__ import annotations

from collections.abc import Iterator

import keras
import pytest
import tensorflow as tf
from tensorflow.core.framework import node_def_pb2
from tensorflow.python.framework.kernels import get_registered_kernels_for_op

from cml_tf.adaptation import SGD, GradientDescent
from cml_tf.learners import conv4, conv4_co_learner, mlp, mlp_co_learner
from cml_tf.objectives import CoLearner, QueryLoss
from cml_tf.problems import Classification, Regression
from cml_tf.training.meta_step import MetaStep
from cml_tf.training.method import Method
from tests.helpers.models import two_blocks
from tests.helpers.seeded_episodes import classification_episode, regression_episode


def dense():
    problem = Regression(1)
    terms = [QueryLoss(problem), CoLearner(mlp_co_learner(1), problem, weight=0.5)]
    return Method.of(mlp(1, (2,)), GradientDescent(problem, SGD(0.1), 1), terms), regression_episode()


def convolutional():
    problem = Classification(3)
    terms = [QueryLoss(problem), CoLearner(conv4_co_learner(3, 4, blocks=1), problem, weight=0.5)]
    method = Method.of(two_blocks(conv4, 3, (8, 8, 1), 4), GradientDescent(problem, SGD(0.1), 1), terms)
    return method, classification_episode(shape=(8, 8, 1))


def nodes_of(step, method, episode) -> Iterator[node_def_pb2.NodeDef]:
    """The operations of a compiled step, those in its functions too."""
    names = tuple(term.name for term in method.terms)
    traced = step._compiled.get_concrete_function(episode, method.weights(), False, names, {})
    definition = traced.graph.as_graph_def()
    yield from definition.node
    for function in definition.library.function:
        yield from function.node_def


def has_gpu_kernel(node: node_def_pb2.NodeDef) -> bool:
    """Whether a kernel for GPUs takes the number formats of an operation."""

    def takes(kernel) -> bool:
        # What only hands tensors on is registered for all devices at once.
        return kernel.device_type in ("GPU", "DEFAULT") and all(
            node.attr[limit.name].type in limit.allowed_values.list.type
            for limit in kernel.constraint
            if node.attr[limit.name].type
        )

    return any(takes(kernel) for kernel in get_registered_kernels_for_op(node.op).kernel)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("make", "options", "least"),
    [
        (dense, {}, 40),
        (convolutional, {"accumulate": 2}, 50),
        (convolutional, {"vectorised": True}, 40),
    ],
)
def test_every_operation_of_a_step_has_a_kernel(monkeypatch, make, options, least):
    # Layers choose other operations where there is a GPU.
    seen = tf.config.list_logical_devices
    monkeypatch.setattr(tf.config, "list_logical_devices", lambda kind=None: seen(None if kind == "GPU" else kind))
    method, episode = make()
    optimizer = keras.optimizers.Adam(1e-3)
    step = MetaStep(method, dict.fromkeys(method.trained_variables(), optimizer), clip_norm=1.0, **options)
    nodes = list(nodes_of(step, method, episode))
    kinds = {node.op for node in nodes}
    assert len(kinds) >= least
    assert not any("FusedBatchNorm" in kind for kind in kinds), "what is looked at is what a GPU would be given"
    assert {node.op for node in nodes if not has_gpu_kernel(node)} == set()


def test_an_operation_without_one_would_be_found():
    assert not has_gpu_kernel(node_def_pb2.NodeDef(op="StringSplitV2"))

"""Extractors of node features: graph convolutions, exact to every order, at the cost of a neighbourhood.

Inputs are node numbers; the graph is the context of the episode. Only the rows of the neighbourhood are ever touched:
a step costs the same on a graph of a thousand nodes and on one of a million, and no task holds a copy of the graph.

Attribute matching: what the support nodes have in common decides how much each attribute counts in a task.

After AMM-GNN (Wang et al., CIKM 2020, doi 10.1145/3340531.3411923): attribute-level attention makes the attributes of a
new task resemble those that the learner was trained on. Its code was never published; docs/NODES.md says what is taken
from the paper and what is our reading.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from cml_tf.graphs import GraphContext, dense_rows, take_rows
from cml_tf.learners.layers.initialisation import bias_initializer, kernel_initializer
from cml_tf.learners.normalisation.layer import Normalisation


class _NodeLayer(keras.layers.Layer):
    """What extractors of node features have in common: the first layer reads the features that the context holds.

    Args:
      features: how many features a node has in the graph.
      matching: whether the features pass `AttributeMatching` first.
      initialisation: what it begins with (`cml_tf.learners.layers.initialisation`).
    """

    # The context is as large as the graph: layers cast the few rows that they take, not all of it.
    def __init__(
        self, features: int, matching: bool = False, initialisation: str = "glorot_uniform", **kwargs: Any
    ) -> None:
        super().__init__(**{"autocast": False, **kwargs})
        if features < 1:
            raise ValueError(f"features must be at least 1, received {features}.")
        self.features = features
        self.initialisation = initialisation
        self.matching = AttributeMatching(features, dtype=self.dtype_policy) if matching else None
        self.kernels: list[keras.Variable] = []
        self.biases: list[keras.Variable] = []

    def _add_layers(self, widths: Sequence[int]) -> None:
        for number, (width, below) in enumerate(zip(widths, [self.features, *widths], strict=False)):
            kernel, bias = kernel_initializer(self.initialisation), bias_initializer(self.initialisation, below)
            self.kernels.append(self.add_weight(shape=(below, width), initializer=kernel, name=f"kernel_{number}"))
            self.biases.append(self.add_weight(shape=(width,), initializer=bias, name=f"bias_{number}"))

    def build(self, *shapes: Any) -> None:
        """Nothing: all sizes were known."""

    def _variable(self, variable: keras.Variable) -> tf.Tensor:
        return tf.cast(tf.convert_to_tensor(variable), self.compute_dtype)

    def _first(self, nodes: tf.Tensor, context: GraphContext) -> tf.Tensor:
        kernel, bias = self._variable(self.kernels[0]), self._variable(self.biases[0])
        if self.matching is not None:
            alpha, beta = self.matching.modulation()
            # (X * (1 + alpha) + beta) W, without ever touching an attribute of a node.
            bias += tf.linalg.matvec(kernel, beta, transpose_a=True)
            kernel *= (1.0 + alpha)[:, tf.newaxis]
        rows, columns, values = take_rows(context.features, nodes)
        return self._product(rows, columns, values, nodes, kernel) + bias

    def _product(
        self, rows: tf.Tensor, columns: tf.Tensor, values: tf.Tensor, nodes: tf.Tensor, dense: tf.Tensor
    ) -> tf.Tensor:
        """The sparse rows of some nodes times a dense matrix."""
        sizes = tf.stack([tf.size(nodes, tf.int64), tf.shape(dense, tf.int64)[0]])
        places = tf.stack([rows, tf.cast(columns, tf.int64)], 1)
        part = tf.SparseTensor(places, tf.cast(values, self.compute_dtype), sizes)
        return tf.ensure_shape(tf.sparse.sparse_dense_matmul(part, dense), [nodes.shape[0], dense.shape[1]])

    def get_config(self) -> dict[str, Any]:
        """The arguments that make this layer again."""
        own = {"features": self.features, "matching": self.matching is not None, "initialisation": self.initialisation}
        return {**super().get_config(), **own}

    def _match(self, nodes: tf.Tensor, context: GraphContext, training: bool) -> None:
        if self.matching is not None and training:
            self.matching.keep(tf.cast(dense_rows(context.features, nodes, self.features), self.compute_dtype))


@keras.saving.register_keras_serializable("cml_tf")
class GraphConvolutions(_NodeLayer):
    """A graph convolutional network (Kipf and Welling 2017, arXiv 1609.02907): X_l = ReLU(S X_(l-1) W_l + b_l).

    S is the normalised adjacency of the context; the context's features are S X already (`hops=1`). The last layer has
    no ReLU. Where asked for, a normalisation stands before each ReLU; its statistics are over the nodes whose
    neighbourhood is looked at, each of which counts once.

    Example:
      >>> context = gcn(2, 7).context  # of the smallest graph
      >>> GraphConvolutions(features=7, hidden=(16, 4))(np.array([0, 1]), context=context).shape
      TensorShape([2, 4])

    Args:
      features: how many features a node has in the graph.
      hidden: widths of the layers, at least one.
      matching: whether the features pass `AttributeMatching` first.
      initialisation: what it begins with (`cml_tf.learners.layers.initialisation`).
      normalisation: mode of `Normalisation`.
      steps: of `Normalisation`, as `groups`.
      groups: likewise.
    """

    hops = 1

    def __init__(
        self,
        features: int,
        hidden: Sequence[int] = (16, 16),
        matching: bool = False,
        initialisation: str = "glorot_uniform",
        normalisation: str = "none",
        steps: int = 1,
        groups: int = 8,
        **kwargs: Any,
    ) -> None:
        super().__init__(features, matching, initialisation, **kwargs)
        if not hidden or min(hidden) < 1:
            raise ValueError(f"hidden must contain at least one positive width, received {tuple(hidden)}.")
        self.hidden = tuple(hidden)
        self._add_layers(self.hidden)
        self.normalisation, self.steps, self.groups = normalisation, steps, groups
        self.normalisations = [
            Normalisation(normalisation, steps=steps, groups=groups, relu=True, dtype=self.dtype_policy)
            for _ in self.hidden[:-1]
        ]
        for layer, width in zip(self.normalisations, self.hidden, strict=False):
            layer.build((None, width))

    def call(self, inputs: tf.Tensor, context: GraphContext, training: bool = False) -> tf.Tensor:
        """Features `[examples, hidden[-1]]` of the nodes `[examples]` of the context's graph.

        Args:
          inputs: node numbers, integers in [0, nodes).
          context: the graph, with `hops=1`.
          training: True on support sets, which attributes are matched on, and of which normalisations may keep
            something.
        """
        self._match(inputs, context, training)
        return self._layer(len(self.hidden) - 1, inputs, context, training)

    def representations(self, inputs: tf.Tensor, context: GraphContext) -> tuple[tf.Tensor, ...]:
        """What each layer hands on of the nodes `[examples]`: `[examples, width]` from the first to the last layer."""
        outputs = [self._layer(number, inputs, context, False) for number in range(len(self.hidden))]
        hidden = [layer(one) for layer, one in zip(self.normalisations, outputs, strict=False)]
        return (*hidden, outputs[-1])

    def _layer(self, number: int, nodes: tf.Tensor, context: GraphContext, training: bool) -> tf.Tensor:
        if number == 0:
            return self._first(nodes, context)
        rows, columns, values = take_rows(context.adjacency, nodes)
        # Neighbours that several nodes share are worked on once.
        neighbours, place = tf.unique(columns, out_idx=tf.int64)
        below = self._layer(number - 1, neighbours, context, training)
        below = self.normalisations[number - 1](below, training=training)
        projected = tf.matmul(below, self._variable(self.kernels[number]))
        return self._product(rows, place, values, nodes, projected) + self._variable(self.biases[number])

    def get_config(self) -> dict[str, Any]:
        """The arguments that make this layer again."""
        own = ("hidden", "normalisation", "steps", "groups")
        return {**super().get_config(), **{name: getattr(self, name) for name in own}}


@keras.saving.register_keras_serializable("cml_tf")
class PropagatedFeatures(_NodeLayer):
    """Simplified graph convolution (SGC; Wu et al. 2019, arXiv 1902.07153): a linear layer on S^hops X.

    The context holds S^hops X, which is made once for all training.

    Example:
      >>> context = sgc(2, 7).context  # of the smallest graph
      >>> PropagatedFeatures(features=7, hidden=4)(np.array([0, 1]), context=context).shape
      TensorShape([2, 4])

    Args:
      features: how many features a node has in the graph.
      hidden: width of the linear layer.
      hops: how far features are propagated.
      matching: whether the features pass `AttributeMatching` first.
      initialisation: what it begins with (`cml_tf.learners.layers.initialisation`).
    """

    def __init__(
        self,
        features: int,
        hidden: int = 16,
        hops: int = 2,
        matching: bool = False,
        initialisation: str = "glorot_uniform",
        **kwargs: Any,
    ) -> None:
        super().__init__(features, matching, initialisation, **kwargs)
        if hidden < 1 or hops < 0:
            raise ValueError(f"hidden must be positive and hops 0 or more, received {hidden} and {hops}.")
        self.hidden = hidden
        self.hops = hops
        self._add_layers((hidden,))

    def call(self, inputs: tf.Tensor, context: GraphContext, training: bool = False) -> tf.Tensor:
        """Features `[examples, hidden]` of the nodes `[examples]`; arguments as of `GraphConvolutions`."""
        self._match(inputs, context, training)
        return self._first(inputs, context)

    def get_config(self) -> dict[str, Any]:
        """The arguments that make this layer again."""
        return {**super().get_config(), "hidden": self.hidden, "hops": self.hops}


@keras.saving.register_keras_serializable("cml_tf")
class AttributeMatching(keras.layers.Layer):
    """`x * (1 + alpha) + beta`, with alpha and beta `[features]` from one small network shared by all attributes.

    What the network sees of an attribute is its mean and standard deviation over the support nodes, relative to the
    attributes' average, so it is indifferent to the nodes' order and number. Both are state of the task; the network is
    meta-learned, and adapted with the rest. It starts as the identity.

    Args:
      features: how many attributes a node has.
      hidden: width of the network.
      strength: factor of alpha and beta; a small one lets the outer loop decide on them more than the inner loop, whose
        few steps would throw them about.
    """

    threads_state = True

    def __init__(self, features: int, hidden: int = 8, strength: float = 0.1, **kwargs: Any) -> None:
        super().__init__(**{"autocast": False, **kwargs})
        self.features = features
        self.hidden = hidden
        self.strength = strength
        self.first = self.add_weight(shape=(3, hidden), initializer="glorot_uniform", name="first")
        # Zeros: alpha = beta = 0 at first, and the gradient finds the way from there.
        self.second = self.add_weight(shape=(hidden, 2), initializer="zeros", name="second")
        self.seen = self.add_weight(shape=(features, 2), initializer="zeros", name="seen", trainable=False)

    def build(self, *shapes: Any) -> None:
        """Nothing: all sizes were known."""

    def keep(self, attributes: tf.Tensor) -> None:
        """Keeps what a support set `[examples, features]` has of each attribute as state of the task."""
        mean = tf.reduce_mean(attributes, 0)
        deviation = tf.sqrt(tf.reduce_mean(tf.square(attributes - mean), 0))
        self.seen.assign(tf.stack([mean, deviation], 1))

    def modulation(self) -> tuple[tf.Tensor, tf.Tensor]:
        """Alpha and beta of the task, `[features]` each."""
        seen, first, second = (
            tf.cast(tf.convert_to_tensor(variable), self.compute_dtype)
            for variable in (self.seen, self.first, self.second)
        )
        relative = tf.math.divide_no_nan(seen, tf.reduce_mean(seen, 0, keepdims=True))
        network_inputs = tf.concat([relative, tf.ones_like(relative[:, :1])], 1)
        outputs = self.strength * tf.matmul(tf.nn.relu(tf.matmul(network_inputs, first)), second)
        return outputs[:, 0], outputs[:, 1]

    def call(self, attributes: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Attributes `[examples, features]` modulated; those of support sets (training) are kept first."""
        if training:
            self.keep(attributes)
        alpha, beta = self.modulation()
        return attributes * (1.0 + alpha) + beta

    def get_config(self) -> dict[str, Any]:
        """The arguments that make this layer again."""
        return {**super().get_config(), "features": self.features, "hidden": self.hidden, "strength": self.strength}

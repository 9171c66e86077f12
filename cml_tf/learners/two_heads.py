"""A head that is two heads: what CL, the paper's contrast to CML, adapts (arXiv 2406.04639, Table 4)."""

from __future__ import annotations

from typing import Any

import keras


@keras.saving.register_keras_serializable("cml_tf")
class TwoHeads(keras.layers.Layer):
    """Reads the same features with two heads and returns both outputs.

    CL is a learner with this head: both heads are adapted in the inner loop on a support loss of both, where CML's
    co-learner is left alone there.

    Args:
      first: the head (theta); its outputs come first.
      second: the second head (phi).
    """

    def __init__(self, first: keras.Layer, second: keras.Layer, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.first = first
        self.second = second

    def build(self, input_shape: Any) -> None:
        """Nothing of its own: the two heads build at their first call."""

    def call(self, features: Any, training: bool | None = None) -> tuple[Any, Any]:
        """Returns `(first outputs, second outputs)`."""
        return self.first(features, training=training), self.second(features, training=training)

    def get_config(self) -> dict[str, Any]:
        """The two heads, serialised."""
        serialise = keras.saving.serialize_keras_object
        return {**super().get_config(), "first": serialise(self.first), "second": serialise(self.second)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> TwoHeads:
        """Makes the layer again."""
        heads = {name: keras.saving.deserialize_keras_object(config.pop(name)) for name in ("first", "second")}
        return cls(**heads, **config)

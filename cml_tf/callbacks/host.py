"""The model that Keras callbacks are given: it carries what they read and set, and is never called."""

from __future__ import annotations

from typing import Any

import keras

from cml_tf.method import Method


class MetaTraining(keras.Model):
    """The layers and the optimiser of a training, and its `stop_training`."""

    def call(self, inputs: Any) -> Any:
        """Never reached: a learner is called through `Learner.call`, with its parameters."""
        raise NotImplementedError

    def __call__(self, *arguments: Any, **keywords: Any) -> Any:
        """As `call`, before Keras wraps it up."""
        raise ValueError("this model only carries state for callbacks: call trainer.model() instead.")

    predict = evaluate = __call__

    def save(self, *arguments: Any, **keywords: Any) -> None:
        """Refuses: what it would write could be neither called nor loaded."""
        raise ValueError("callbacks cannot save this model, which only carries state: save trainer.model() instead.")


def callback_host(method: Method, optimizer: keras.optimizers.Optimizer) -> keras.Model:
    """The model for a method's callbacks; rates that they set are the optimiser's."""
    host = MetaTraining(name="meta_training")
    host.extractor, host.head = method.learner.extractor, method.learner.head
    # What adaptation meta-learned (rates) belongs to the weights that a callback reads and sets.
    host.adaptation = list(method.rule.meta_variables)
    host.term_layers = [term.layer for term in method.terms if hasattr(term, "layer")]
    host.built = True
    host.compile(optimizer=optimizer)
    return host

"""Gradients as dense tensors, wherever a tape gives them.

A weight that is read by `tf.gather` (an Embedding) gets its gradient as `tf.IndexedSlices`: rows and their numbers.
Update rules, loops and reducers do arithmetic on gradients, which those do not know.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf


def dense_gradients(tape: tf.GradientTape, targets: Any, sources: Sequence[Any], **arguments: Any) -> list[Any]:
    """`tape.gradient(targets, sources, **arguments)`, every gradient a tensor of its source's shape, or None."""
    gradients = tape.gradient(targets, list(sources), **arguments)
    return [tf.convert_to_tensor(g) if isinstance(g, tf.IndexedSlices) else g for g in gradients]

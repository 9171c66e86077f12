"""Image files decoded by graphs that all tests of a process share: loaders make one anew for every split."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator

import pytest
import tensorflow as tf

from cml_tf.datasets import image_files

_decode = image_files.decode_and_resize


@functools.cache
def _graph(image_size: tuple[int, int], channels: int) -> tf.types.experimental.ConcreteFunction:
    traced = tf.function(lambda contents: _decode(contents, image_size, channels), autograph=False)
    return traced.get_concrete_function(tf.TensorSpec([], tf.string))


def _shared(contents: tf.Tensor, image_size: tuple[int, int], channels: int) -> tf.Tensor:
    if tf.executing_eagerly():
        return _decode(contents, image_size, channels)
    return _graph(tuple(image_size), channels)(contents)


@contextlib.contextmanager
def shared_decoding() -> Iterator[None]:
    """Within it, loaders decode as ever, but trace no graph that another one has traced."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(image_files, "decode_and_resize", _shared)
        yield

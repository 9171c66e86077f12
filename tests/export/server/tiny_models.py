"""Models small enough to be made for each test: y = 0.5 x + offset, and signatures that take their time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tensorflow as tf

from export.requests.files import Request, write_requests


class Halver(tf.Module):
    """Halves and adds the offset."""

    def __init__(self, offset: float) -> None:
        super().__init__()
        self.offset = tf.Variable(offset, dtype=tf.float32)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, "x")])
    def halve(self, x):
        return {"y": 0.5 * x + self.offset}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, "a"), tf.TensorSpec([None], tf.int32, "b")])
    def both(self, a, b):
        return {"sum": a + tf.cast(b, tf.float32), "negative": a < 0}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "text")])
    def shout(self, text):
        return {"plain": text + "!", "same_bytes": text}

    @tf.function(input_signature=[tf.TensorSpec([1], tf.int32, "n")])
    def count(self, n):
        return {"n": tf.while_loop(lambda i: i < n[0], lambda i: [i + 1], [tf.constant(0)])[0][None]}

    @tf.function(input_signature=[tf.TensorSpec([2], tf.float32, "x")])
    def guarded(self, x):
        return {"y": tf.ensure_shape(x, [2]) + self.offset}

    def signatures(self):
        names = ("both", "shout", "count", "guarded")
        return {"serving_default": self.halve, **{name: getattr(self, name) for name in names}}


class WaitingHalver(Halver):
    """One that also waits for a file: its requests take as long as a test wants, on any machine."""

    @tf.function(input_signature=[tf.TensorSpec([1], tf.string, "path")])
    def wait(self, path):
        looks = tf.while_loop(
            lambda looks: tf.size(tf.io.matching_files(path)) == 0, lambda looks: [looks + 1], [tf.constant(0)]
        )[0]
        return {"found": looks[None] >= 0}

    def signatures(self):
        return {**super().signatures(), "wait": self.wait}


def write_halver(
    directory: Path, offset: float, warm_up: list[Request] | None = None, kind: type[Halver] = Halver
) -> None:
    """Saves a version, which appears whole under its name."""
    draft, module = directory.parent / f"draft-{directory.name}", kind(offset)
    tf.saved_model.save(module, str(draft), signatures=module.signatures())
    if warm_up is not None:
        (draft / "assets.extra").mkdir(exist_ok=True)
        write_requests(draft / "assets.extra" / "tf_serving_warmup_requests", warm_up, "halver")
    draft.rename(directory)


def halving(*values: float) -> Request:
    """A request to the default signature."""
    return Request("serving_default", {"x": np.array(values, np.float32)})

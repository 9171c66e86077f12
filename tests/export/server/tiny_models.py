"""Models small enough to be made for each test: y = 0.5 x + offset, and signatures that take their time."""

from pathlib import Path

import numpy as np
import tensorflow as tf

from export.requests.files import Request, write_requests


def _signature(shape, *names, dtype=tf.float32):
    return tf.function(input_signature=[tf.TensorSpec(shape, dtype, name) for name in names])


class Halver(tf.Module):
    """Halves and adds the offset."""

    def __init__(self, offset: float) -> None:
        super().__init__()
        self.offset = tf.Variable(offset, dtype=tf.float32)

    @_signature([None], "x")
    def serving_default(self, x):
        return {"y": 0.5 * x + self.offset}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, "a"), tf.TensorSpec([None], tf.int32, "b")])
    def both(self, a, b):
        return {"sum": a + tf.cast(b, tf.float32), "negative": a < 0}

    @_signature([None], "text", dtype=tf.string)
    def shout(self, text):
        return {"plain": text + "!", "same_bytes": text}

    @_signature([1], "n", dtype=tf.int32)
    def count(self, n):
        return {"n": tf.while_loop(lambda i: i < n[0], lambda i: [i + 1], [tf.constant(0)])[0][None]}

    @_signature([2], "x")
    def guarded(self, x):
        return {"y": tf.ensure_shape(x, [2]) + self.offset}

    names = ("serving_default", "both", "shout", "count", "guarded")


class WaitingHalver(Halver):
    """One that also waits for a file: its requests take as long as a test wants, on any machine."""

    @_signature([1], "path", dtype=tf.string)
    def wait(self, path):
        missing = lambda looks: tf.size(tf.io.matching_files(path)) == 0  # noqa: E731
        return {"found": tf.while_loop(missing, lambda looks: [looks + 1], [tf.constant(0)])[0][None] >= 0}

    names = (*Halver.names, "wait")


def write_halver(directory: Path, offset: float, warm_up: list[Request] | None = None, kind=Halver) -> None:
    """Saves a version, which appears whole under its name."""
    draft, module = directory.parent / f"draft-{directory.name}", kind(offset)
    tf.saved_model.save(module, str(draft), signatures={name: getattr(module, name) for name in kind.names})
    if warm_up is not None:
        (draft / "assets.extra").mkdir(exist_ok=True)
        write_requests(draft / "assets.extra" / "tf_serving_warmup_requests", warm_up, "halver")
    draft.rename(directory)


def halving(*values: float) -> Request:
    """A request to the default signature."""
    return Request("serving_default", {"x": np.array(values, np.float32)})

"""When Python looks for cyclic garbage: after versions change, not while requests are answered."""

from __future__ import annotations

import gc


def collect_and_freeze() -> None:
    """Frees what nobody can reach, and leaves the rest out of later searches until the next call.

    The lists of a large JSON body set off searches; with all of TensorFlow to look through, each takes longer than
    the request. What was frozen is looked at again here: a graph is full of cycles, and would otherwise outlive its
    version.
    """
    gc.unfreeze()
    gc.collect()
    gc.freeze()

"""How fast this machine multiplies matrices: the limit that a meta-step is held against."""

from __future__ import annotations

import time

import tensorflow as tf


def gemm_gflops(dtype: str, edge: int = 2048, runs: int = 8) -> float:
    """Best rate of a square matrix product, in GFLOP/s."""
    matrix = tf.cast(tf.random.uniform((edge, edge), seed=0), dtype)
    multiply = tf.function(lambda a: tf.matmul(a, a), autograph=False)
    seconds = []
    for _ in range(runs + 1):
        start = time.perf_counter()
        multiply(matrix)[0, 0].numpy()
        seconds.append(time.perf_counter() - start)
    return 2 * edge**3 / min(seconds) / 1e9

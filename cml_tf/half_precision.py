"""Whether this machine survives products in bfloat16, found out before a run dies of them without a word.

Some virtual machines announce AMX (matrix instructions of Intel processors) and hide how large its tiles are. oneDNN,
which multiplies matrices for TensorFlow on CPUs, believes them, and the kernel ends the process (SIGILL).
"""

from __future__ import annotations

import functools
import os
import signal
import subprocess
import sys
from pathlib import Path

import tensorflow as tf

LIMIT = ("ONEDNN_MAX_CPU_ISA", "AVX512_CORE_BF16")
"""Environment variable, and the value that keeps oneDNN from using AMX."""

WOULD_DIE = (
    "would end the process on this machine: its processor announces AMX and does not run it. Set "
    f"{'='.join(LIMIT)} in the environment, which does without"
)
"""What to say of a computation in bfloat16 where `bfloat16_works` is false."""

_AMX = "amx_bf16"
_PRODUCT = "import tensorflow as tf; x = tf.ones((64, 256), tf.bfloat16); tf.matmul(x, x, transpose_b=True)"


@functools.cache
def bfloat16_works() -> bool:
    """Whether a product in bfloat16 leaves a process of this machine alive.

    Where the processor announces AMX and there is no GPU, a child process tries it, which takes some seconds, once.
    """
    if tf.config.list_physical_devices("GPU") or _AMX not in Path("/proc/cpuinfo").read_text(errors="replace"):
        return True
    return survives(_PRODUCT)


def leave_out_broken_amx() -> None:
    """Sets `LIMIT` for this process (which has computed nothing yet) and its children, where bfloat16 ends them."""
    if os.environ.get(LIMIT[0]) != LIMIT[1] and not bfloat16_works():
        os.environ[LIMIT[0]] = LIMIT[1]
        bfloat16_works.cache_clear()


def survives(code: str) -> bool:
    """Whether a Python process that runs the code meets no illegal instruction."""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    return ended.returncode != -signal.SIGILL

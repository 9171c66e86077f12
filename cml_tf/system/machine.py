"""The machine a figure was measured on, or a run trained on: other processors and packages round differently.

Whether this machine survives products in bfloat16, found out before a run dies of them without a word.

Some virtual machines announce AMX (matrix instructions of Intel processors) and hide how large its tiles are. oneDNN,
which multiplies matrices for TensorFlow on CPUs, believes them, and the kernel ends the process (SIGILL).
"""

from __future__ import annotations

import functools
import os
import platform
import re
import signal
import subprocess
import sys
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import tensorflow as tf

from cml_tf.system.settings import ONEDNN

_FLAGS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16", "amx_tile")
_PACKAGES = ("tensorflow", "keras", "numpy")
_KIB_A_GIB = 2**20
# What must be alike for two figures to be compared.
_IDENTITY = ("processor", "flags", "cores", "packages")


def processor(text: str) -> tuple[str, list[str]]:
    """Model and those of its flags that matter here, from `/proc/cpuinfo`."""
    model = re.search(r"^model name\s*:\s*(.*)$", text, re.MULTILINE)
    flags = re.search(r"^flags\s*:\s*(.*)$", text, re.MULTILINE)
    known = flags.group(1).split() if flags else []
    return model.group(1).strip() if model else "unknown", [flag for flag in _FLAGS if flag in known]


def machine() -> dict[str, Any]:
    """What `/proc` and Python tell of this machine; of AMX only where it may be used, and where oneDNN is left out."""
    model, flags = processor(Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace"))
    if LIMIT[0] in os.environ:
        flags = [flag for flag in flags if not flag.startswith("amx")]
    if os.environ.get(ONEDNN, "1").lower() in ("0", "false"):
        flags.append("without oneDNN")
    total = re.search(r"^MemTotal:\s*(\d+)", Path("/proc/meminfo").read_text(encoding="ascii"), re.MULTILINE)
    return {
        "processor": model,
        "flags": flags,
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(int(total.group(1)) / _KIB_A_GIB, 1) if total else 0.0,
        "kernel": platform.release(),
        "python": sys.version.split()[0],
        "packages": {package: version(package) for package in _PACKAGES},
    }


def label(machine: Mapping[str, Any]) -> str:
    """What of a machine makes its results differ from another's, in one line."""
    packages = ", ".join(f"{name} {number}" for name, number in machine["packages"].items())
    flags = f" ({' '.join(machine['flags'])})" if machine["flags"] else ""
    cores = f"{machine['cores']} core" if machine["cores"] == 1 else f"{machine['cores']} cores"
    return f"{machine['processor']}{flags}, {cores}, {packages}"


def differences(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    """What makes the figures of two machines incomparable, in words."""
    return [f"{key}: {one.get(key)} then, {other.get(key)} now" for key in _IDENTITY if one.get(key) != other.get(key)]


LIMIT = ("ONEDNN_MAX_CPU_ISA", "AVX512_CORE_BF16")
"""Environment variable, and the value that keeps oneDNN from using AMX."""

WOULD_DIE = (
    "would crash on this machine, whose processor announces AMX but cannot run it. Set "
    f"{'='.join(LIMIT)} in the environment to avoid AMX"
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

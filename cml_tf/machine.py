"""The machine a figure was measured on, or a run trained on: other processors and packages round differently."""

from __future__ import annotations

import os
import platform
import re
import sys
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from cml_tf.half_precision import LIMIT

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
    """What `/proc` and Python tell of this machine; of AMX only where it may be used."""
    model, flags = processor(Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace"))
    if LIMIT[0] in os.environ:
        flags = [flag for flag in flags if not flag.startswith("amx")]
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

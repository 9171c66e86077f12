"""Memory of this process, as the kernel counts it."""

from __future__ import annotations

from pathlib import Path

_KIB_A_MIB = 1024


def resident(text: str | None = None) -> dict[str, float]:
    """MiB resident `now` and at the `peak`.

    Not `getrusage`: its peak survives `exec`, so a child would inherit that of the process that forked it.

    Args:
      text: of `/proc/PID/status`; this process's own when None.
    """
    text = Path("/proc/self/status").read_text(encoding="ascii", errors="replace") if text is None else text
    fields = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
    return {name: int(fields[key].split()[0]) / _KIB_A_MIB for name, key in (("now", "VmRSS"), ("peak", "VmHWM"))}

"""Standard output and error that never stop a program.

A terminal may not know a character, a disk may be full, who read a pipe may have gone. None of these is a reason to
lose hours of training, or the answer at the end.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import sys
from typing import TextIO

_STANDARD = (0, 1, 2)


class _Enduring(io.RawIOBase):
    """A file that takes everything: `fault` is the error of the first write that failed, None if none did.

    Args:
      descriptor: of the file.
      otherwise: of another file, which gets what this one could not take; not where a pipe's reader has gone.
    """

    def __init__(self, descriptor: int, otherwise: int | None = None) -> None:
        self.fault: OSError | None = None
        self._descriptor = descriptor
        self._otherwise = otherwise

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._descriptor

    def isatty(self) -> bool:
        return os.isatty(self._descriptor)

    def write(self, content: bytes | memoryview, /) -> int:  # type: ignore[override]
        view = memoryview(content).cast("B")
        done = 0
        try:
            while self.fault is None and done < len(view):
                done += os.write(self._descriptor, view[done:])
        except OSError as error:
            self.fault = error
        if self.fault is not None and self._otherwise is not None and self.fault.errno != errno.EPIPE:
            with contextlib.suppress(OSError):
                os.write(self._otherwise, view[done:])
        return len(view)


def endure() -> None:
    r"""Makes `sys.stdout` and `sys.stderr` take everything from now on.

    Characters that the encoding lacks are written as escapes, such as `\xb1`. What the standard output cannot take, or
    all of it where it is closed, goes to the standard error. Files opened later never get the number of a closed one.
    """
    closed = [descriptor for descriptor in _STANDARD if not _is_open(descriptor)]
    for _ in closed:
        # The lowest free number is taken: that of the closed one.
        os.open(os.devnull, os.O_RDWR)
    if 1 in closed and 2 not in closed:
        os.dup2(2, 1)
    sys.stdout = _enduring(sys.stdout, 1, 2)
    sys.stderr = _enduring(sys.stderr, 2, None)


def output_fault() -> OSError | None:
    """Why the standard output could not be written; None if it could, or `endure` left it as it was."""
    sys.stdout.flush()
    raw = _raw(sys.stdout)
    return raw.fault if isinstance(raw, _Enduring) else None


def _is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


def _raw(stream: TextIO) -> object:
    # Without buffers (python -u) the raw file stands in the buffer's place.
    buffer = getattr(stream, "buffer", None)
    return getattr(buffer, "raw", buffer)


def _enduring(stream: TextIO | None, descriptor: int, otherwise: int | None) -> TextIO:
    if stream is not None:
        stream.flush()
        # A notebook's or a test's is not the process' own, and stays.
        if not isinstance(_raw(stream), io.FileIO) or stream.fileno() != descriptor:
            return stream
    raw = _Enduring(descriptor, otherwise)
    unbuffered = bool(getattr(stream, "write_through", False))
    return io.TextIOWrapper(
        raw if unbuffered else io.BufferedWriter(raw),  # type: ignore[type-var]  # It takes any bytes.
        encoding=stream.encoding if stream is not None else None,
        errors="backslashreplace",
        line_buffering=stream is None or bool(getattr(stream, "line_buffering", True)),
        write_through=unbuffered,
    )

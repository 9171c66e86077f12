"""The embedded server in a process of its own, for programs that need one for a while."""

from __future__ import annotations

import contextlib
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from cml_tf.errors import UserError
from cml_tf.system.processes import environment_of_child

_ROOT = Path(__file__).resolve().parents[2]
_STARTED = re.compile(r"gRPC (\S+), REST (https?://[^/]+)/")
_SECONDS_TO_END = 60


class ServerFailed(UserError):
    """The server did not start, or did not end as it should."""


@dataclass(frozen=True)
class ServerProcess:
    """A server that answers.

    Attributes:
      process: that it runs in.
      grpc: its address, host and port.
      rest: scheme, host and port.
    """

    process: subprocess.Popen[str]
    grpc: str
    rest: str

    def stop(self) -> int:
        """Ends it as a supervisor does, and returns the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(_SECONDS_TO_END)


@contextlib.contextmanager
def server_process(flags: Sequence[str], log: Path) -> Iterator[ServerProcess]:
    """Starts `python -m export.serve`; in the end it is ended, if it has not ended by then.

    Args:
      flags: of the program; ports are free ones unless these say otherwise.
      log: gets its standard error.

    Raises:
      ServerFailed: with the end of the log, if it does not start.
    """
    with log.open("wb") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "export.serve", "--rest_port=0", "--grpc_port=0", *flags],
            cwd=_ROOT,
            env={**environment_of_child(), "TF_CPP_MIN_LOG_LEVEL": "3"},
            stdout=subprocess.PIPE,
            stderr=errors,
            encoding="utf-8",
            errors="replace",
        )
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        started = _STARTED.search(line)
        if started is None:
            process.wait(_SECONDS_TO_END)
            told = log.read_text(encoding="utf-8", errors="replace")
            raise ServerFailed(f"the server did not start: {line}{told[-2000:]}")
        server = ServerProcess(process, started[1], started[2])
        yield server
        if process.poll() is None:
            server.stop()
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        process.stdout.close()

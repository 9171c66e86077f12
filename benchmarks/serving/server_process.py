"""The embedded server in a process of its own."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.serving.memory import resident_bytes
from export.server.child import server_process


@dataclass(frozen=True)
class Target:
    """A server to be loaded.

    Attributes:
      grpc: its address, host and port.
      rest: likewise.
      pid: of its process, on this machine.
    """

    grpc: str
    rest: str
    pid: int

    def resident_bytes(self) -> int:
        """Memory that the process holds."""
        return resident_bytes(self.pid)


@contextlib.contextmanager
def serving(versions: list[Path], *flags: str) -> Iterator[Target]:
    """Serves models, given by the directory of a version each, on free ports of loopback.

    Raises:
      ServerFailed: if it does not start.
      RuntimeError: if it does not end as it should.
    """
    with tempfile.TemporaryDirectory() as directory:
        log, config = Path(directory, "log"), Path(directory, "models.config")
        entries = [f'config {{ name: "{v.parent.name}" base_path: "{v.parent}" }}' for v in versions]
        config.write_text("model_config_list { " + " ".join(entries) + " }")
        with server_process([f"--model_config_file={config}", *flags], log) as server:
            yield Target(server.grpc, server.rest.removeprefix("http://"), server.process.pid)
            code = server.stop()
            if code != 0:
                raise RuntimeError(f"the server ended with {code}: {log.read_text()[-2000:]}")

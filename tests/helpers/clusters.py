"""Programs that are each other's workers, on loopback."""

from __future__ import annotations

import json
import socket
from pathlib import Path

from tests.helpers.forked_programs import ROOT, Program
from tests.helpers.programs import Finished, environment


def run_cluster(folder: Path, *calls: list[str], bound: float = 120, missing: int = 0) -> list[Finished]:
    """Runs programs to their ends, several of them with TF_CONFIG; each must end within a number of seconds.

    Args:
      folder: for what they print.
      calls: module and flags of each.
      bound: how many seconds.
      missing: how many processes TF_CONFIG names that are never started.
    """
    # All at once, so that no number is given out twice; another program could still take one in the meantime.
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(len(calls) + missing)]
    hosts = [f"127.0.0.1:{one.getsockname()[1]}" for one in sockets]
    for one in sockets:
        one.close()
    started = []
    for index, call in enumerate(calls):
        task = {"cluster": {"worker": hosts}, "task": {"type": "worker", "index": index}}
        files = folder / f"out{index}", folder / f"err{index}"
        more = {"TF_CONFIG": json.dumps(task)} if len(hosts) > 1 else {}
        started.append((Program(call, *files, {**environment(), **more}, ROOT), *files))
    return [Finished(one.wait(bound), out.read_text(), err.read_text()) for one, out, err in started]

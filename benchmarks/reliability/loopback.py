"""Processes of one cluster, all of them on this machine."""

from __future__ import annotations

import json
import socket


def tf_configs(processes: int) -> list[str]:
    """TF_CONFIG of each process, on ports that nobody uses now; another program could take one in the meantime.

    Args:
      processes: how many, 1 or more; a cluster of one needs no TF_CONFIG.
    """
    # All at once, so that no number is given out twice.
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(processes)]
    hosts = [f"127.0.0.1:{one.getsockname()[1]}" for one in sockets]
    for one in sockets:
        one.close()
    tasks = ({"type": "worker", "index": index} for index in range(processes))
    return [json.dumps({"cluster": {"worker": hosts}, "task": task}) for task in tasks]

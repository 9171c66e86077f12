"""The parity gate: what was written must answer as the library does, before anybody may serve it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from export.errors import ExportError
from export.exportable import Exportable
from export.probes import probes
from export.reference import Reference
from export.requests import Request, write_requests

_WORKER = Path(__file__).with_name("parity_worker.py")
_MINUTES = 10


def check_parity(model: Exportable, saved_model: Path, warm_up_file: Path, warm_up: list[Request], name: str) -> int:
    """Loads an export in a fresh process that cannot import this project, and replays all requests.

    Args:
      model: that was exported.
      saved_model: the directory that was written.
      warm_up_file: its warm-up requests, as a server will read them.
      warm_up: the same requests.
      name: of the model.

    Returns:
      How many answers were compared.

    Raises:
      ExportError: naming request, signature, loader and output of the first differences.
    """
    raise NotImplementedError

"""The parity gate: what was written must answer as the library does, before anybody may serve it."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from cml_tf.system.files import atomic_file
from export.errors import ExportError
from export.gate.expectation import Expectation, expectation, probes
from export.gate.reference import Reference
from export.graph.exportable import Exportable
from export.requests.files import Request, write_requests

_WORKER = Path(__file__).with_name("parity_worker.py")
_SECONDS = 1800


def check_parity(
    model: Exportable, saved_model: Path, warm_up_file: Path, warm_up: Sequence[Request], reference: Reference
) -> int:
    """Loads an export in a fresh process that cannot import this project, and replays all requests.

    Args:
      model: that was exported.
      saved_model: the directory that was written.
      warm_up_file: its warm-up requests as a server will read them.
      warm_up: the same requests, in the same order.
      reference: answers in this process.

    Returns:
      How many answers were compared.

    Raises:
      ExportError: naming request, signature, loader and output of the first differences.
    """
    cases = probes(model, warm_up, reference)
    expectations = {
        "warm-up": [expectation(model, reference, request) for request in warm_up],
        "fault": [expected for _, expected in cases],
    }
    with tempfile.TemporaryDirectory() as scratch:
        faults, expected = Path(scratch) / "faults.tfrecord", Path(scratch) / "expected.npz"
        write_requests(faults, [request for request, _ in cases], "parity")
        _write_expectations(expected, expectations)
        files = [f"warm-up={warm_up_file}", f"fault={faults}"]
        report = _run_worker([str(saved_model), str(expected), *files])
    # Every request goes through two loaders.
    wanted = 2 * sum(map(len, expectations.values()))
    if report["differences"]:
        shown = "; ".join(report["differences"][:3])
        raise ExportError(
            f"the answers of the export differ from those of the library ({len(report['differences'])} differences): "
            f"{shown}. Nothing was published."
        )
    if report["compared"] != wanted:
        raise ExportError(
            f"the parity gate must compare {wanted} answers, but compared {report['compared']}: the warm-up file does "
            "not contain the requests that were written. Nothing was published."
        )
    return wanted


def _write_expectations(path: Path, expectations: Mapping[str, Sequence[Expectation]]) -> None:
    arrays = {
        f"{kind}/{name}/{position}/{output}": np.asarray(value)
        for name, members in expectations.items()
        for position, expected in enumerate(members)
        for kind, outputs in expected._asdict().items()
        for output, value in outputs.items()
    }
    with atomic_file(path) as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]


def _run_worker(arguments: list[str]) -> dict:
    """The worker's report; -I leaves out the current directory and PYTHONPATH."""
    try:
        done = subprocess.run(
            [sys.executable, "-I", str(_WORKER), *arguments],
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=_SECONDS,
        )
    except subprocess.TimeoutExpired as error:
        raise ExportError(f"replaying the requests took longer than {_SECONDS} s. Nothing was published.") from error
    if done.returncode:
        reason = f"signal {-done.returncode}" if done.returncode < 0 else f"exit code {done.returncode}"
        last = " ".join(done.stderr.strip().splitlines()[-3:])
        raise ExportError(f"a fresh process cannot load and run the export ({reason}): {last} Nothing was published.")
    return json.loads(done.stdout.strip().splitlines()[-1])

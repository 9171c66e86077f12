"""The parity gate: what was written must answer as the library does, before anybody may serve it."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from cml_tf.system.files import atomic_file
from export.errors import ExportError
from export.gate.expectation import Expectation, expectation, probes
from export.gate.fresh_process import run_fresh
from export.gate.reference import Reference
from export.graph.exportable import Exportable
from export.requests.files import Request, write_requests

_WORKER = Path(__file__).with_name("parity_worker.py")


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
        faults = Path(scratch) / "faults.tfrecord"
        write_requests(faults, [request for request, _ in cases], "parity")
        # Every request goes through two loaders.
        return check_answers(saved_model, {"warm-up": warm_up_file, "fault": faults}, expectations, loaders=2)


def check_answers(
    exported: Path,
    requests: Mapping[str, Path],
    expectations: Mapping[str, Sequence[Expectation]],
    loaders: int,
) -> int:
    """Replays files of requests in a fresh process.

    Args:
      exported: a SavedModel or a LiteRT file.
      requests: files by a name for them.
      expectations: by the same names, in the order of the requests.
      loaders: through how many the worker sends each request.

    Returns:
      How many answers were compared.

    Raises:
      ExportError: naming request, signature, loader and output of the first differences.
    """
    with tempfile.TemporaryDirectory() as scratch:
        expected = Path(scratch) / "expected.npz"
        _write_expectations(expected, expectations)
        files = [f"{name}={path}" for name, path in requests.items()]
        arguments = [str(exported), str(expected), *files]
        report = run_fresh(_WORKER, arguments, "replaying the requests", "load and run the export")
    wanted = loaders * sum(map(len, expectations.values()))
    if report["differences"]:
        shown = "; ".join(report["differences"][:3])
        raise ExportError(
            f"the answers of the export differ from those of the library ({len(report['differences'])} differences): "
            f"{shown}. Nothing was published."
        )
    if report["compared"] != wanted:
        raise ExportError(
            f"the parity gate must compare {wanted} answers, but compared {report['compared']}: the file of requests "
            "does not contain those that were written. Nothing was published."
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

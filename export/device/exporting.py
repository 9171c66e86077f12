"""From a run to a LiteRT file, and a JSON file beside it that says what a program must know to ask it."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from cml_tf.experiments.runs import load_run
from cml_tf.system.files import write_bytes, write_json
from cml_tf.system.manifest import digest
from export.card.origin import of_run
from export.device.conversion import converted
from export.device.signatures import STATE, WHOLE, DeviceModule, signatures_of
from export.errors import ExportError
from export.exporter import Options, exportable
from export.gate.expectation import Expectation, expectation
from export.gate.parity import check_answers
from export.gate.query_dependence import query_dependence
from export.gate.reference import Reference
from export.graph.exportable import Exportable
from export.graph.serving_module import fingerprint
from export.graph.specifications import ADAPT, DEFAULT, PREDICT
from export.requests.files import Request, write_requests
from export.requests.form import Bucket

FORMAT = 1
_SEED, _TASKS = 20261129, 3


@dataclass(frozen=True)
class DeviceOptions:
    """How a run is written for a device.

    Attributes:
      shots: support examples a class (regression: in all) of every task; those of training by default.
      queries: of every question, all classes together; those of an evaluation by default.
      steps: inner steps; the configuration's `adaptation.eval_steps` by default.
      checkpoint: `best` or `latest`.
      readout: which head answers.
    """

    shots: int | None = None
    queries: int | None = None
    steps: int | None = None
    checkpoint: str = "best"
    readout: str = "learner"


def export_to_device(workdir: Path, file: Path, options: DeviceOptions | None = None) -> Path:
    """Writes a run as a LiteRT file, after it passed the parity gate.

    Args:
      workdir: of the run.
      file: its name ends in `.tflite`; a file of the same name that ends in `.json` is written too.
      options: what to export.

    Returns:
      `file`.

    Raises:
      ExportError: if the model cannot run there, or the file does not answer as the library does. Nothing is written
        then.
      RunError, CheckpointError, DatasetError: if the run cannot be used.
    """
    options = options or DeviceOptions()
    _check_name(file)
    experiment = load_run(workdir, options.checkpoint)
    chosen = Options(steps=options.steps, checkpoint=options.checkpoint, readout=options.readout)
    try:
        model = exportable(experiment, chosen)
    except ValueError as error:
        raise ExportError(f"{workdir}: {error}") from error
    settings, classes = experiment.config, model.problem.outputs if model.classification else 1
    shots = options.shots or settings.dataset.shots
    queries = options.queries or classes * (settings.eval.queries or settings.dataset.queries)
    origin = of_run(experiment, options.checkpoint)
    return write_for_device(model, Bucket(classes * shots, queries), file, {**origin.adaptation, **origin.training})


def write_for_device(model: Exportable, sizes: Bucket, file: Path, origin: Mapping[str, Any] | None = None) -> Path:
    """Writes a model that was trained in Python, likewise.

    Args:
      model: what is exported.
      sizes: support examples and queries of every task, all classes together.
      file: as of `export_to_device`.
      origin: what else the JSON file should tell.

    Raises:
      ExportError: as `export_to_device`.
    """
    _check_name(file)
    if model.form.context:
        raise ExportError(
            "the model must need no operation that LiteRT lacks, received SparseTensorDenseMatMul for the graph of its "
            "nodes: serve it (python -m export.savedmodel)."
        )
    module = DeviceModule(model, sizes)
    content = converted(module)
    reference = Reference(model, fingerprint(module.digest))
    requests = [_request(model, sizes, np.random.default_rng(_SEED + task)) for task in range(_TASKS)]
    queries = query_dependence(model, requests, reference)
    with tempfile.TemporaryDirectory() as scratch:
        candidate = Path(scratch) / file.name
        candidate.write_bytes(content)
        compared = _check_parity(candidate, model, requests, reference)
    facts = _facts(model, sizes, queries, dict(origin or {}))
    facts |= {"sha256": digest(content), "variables_sha256": module.digest, "compared": compared}
    write_json(file.with_suffix(".json"), facts)
    write_bytes(file, content)
    return file


def _check_name(file: Path) -> None:
    if file.suffix != ".tflite":
        raise ExportError(f"the file must be called NAME.tflite, received {file.name!r}: add the ending.")


def _request(model: Exportable, sizes: Bucket, generator: np.random.Generator) -> Request:
    """A whole task, with task axis, from the value range of training."""
    drawn = model.form.drawn(sizes, generator)
    if model.classification:
        targets = (np.arange(sizes.support, dtype=np.int32) % model.problem.outputs)[None]
    else:
        targets = generator.standard_normal((1, sizes.support, model.problem.outputs)).astype(np.float32)
    return Request(DEFAULT, {**drawn, model.target_name: targets})


def _check_parity(file: Path, model: Exportable, requests: list[Request], reference: Reference) -> int:
    """Asks each signature of the file in a fresh process; the number of answers that were compared."""
    asked, expected = [], []
    for request in requests:
        for name, of_library in _questions(model, request, reference).items():
            answer = expectation(model, reference, of_library)
            outputs = signatures_of(model, Bucket(1, 1))[name].outputs
            asked.append(Request(name, dict(of_library.inputs)))
            expected.append(Expectation(*({key: part[key] for key in outputs} for part in answer)))
    path = file.with_suffix(".tfrecord")
    write_requests(path, asked, "parity")
    return check_answers(file, {"device": path}, {"device": expected}, loaders=1)


def _questions(model: Exportable, request: Request, reference: Reference) -> dict[str, Request]:
    """By signature of the file: what the library is asked."""
    if not model.packs:
        return {WHOLE: request}
    query = model.form.query
    support = {name: array for name, array in request.inputs.items() if name != query}
    state = reference.answer(Request(ADAPT, support))[STATE]
    later = {STATE: state, query: request.inputs[query]}
    return {ADAPT: Request(ADAPT, support), PREDICT: Request(PREDICT, later)}


def _facts(model: Exportable, sizes: Bucket, queries: dict[str, Any], origin: dict[str, Any]) -> dict[str, Any]:
    described = {
        name: {kind: {key: _described(spec) for key, spec in part.items()} for kind, part in one._asdict().items()}
        for name, one in signatures_of(model, sizes).items()
    }
    problem = {"kind": "classification" if model.classification else "regression", "outputs": model.problem.outputs}
    return {
        "format": FORMAT,
        "problem": problem,
        "support": sizes.support,
        "queries": sizes.query,
        "inputs": model.form.card,
        "signatures": described,
        "predictions_depend_on_other_queries": queries["predictions_depend_on_other_queries"],
        "origin": {**origin, "steps_of_adaptation": model.rule.steps, "tensorflow": tf.__version__},
    }


def _described(spec: tf.TensorSpec) -> dict[str, Any]:
    return {"shape": spec.shape.as_list(), "dtype": spec.dtype.name}

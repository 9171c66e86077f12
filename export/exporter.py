"""From a run, or a model that was trained from Python, to a version that a server can load."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tensorflow as tf

from cml_tf.boundary.digest import variables_digest
from cml_tf.experiments.experiment import Experiment
from cml_tf.experiments.runs import CONFIG, evaluation_method, load_run
from cml_tf.models.few_shot_model import FewShotModel
from cml_tf.readouts import through_head
from cml_tf.readouts.confidence import Confidence, read_confidence
from cml_tf.registry import member
from cml_tf.system.files import write_json, write_text
from cml_tf.training.method import Method
from export.card.markdown import card_markdown
from export.card.model_card import model_card
from export.card.origin import Origin, measured, of_model, of_run, read_evaluation
from export.errors import ExportError
from export.gate.inspection import check_file, co_learner_names
from export.gate.parity import check_parity
from export.gate.query_dependence import query_dependence
from export.gate.reference import Reference
from export.gate.state_difference import state_difference
from export.gate.warm_up import shape_buckets, warm_up_requests
from export.graph.buckets import Service
from export.graph.exportable import Exportable
from export.graph.serving_module import ServingModule, fingerprint
from export.requests.files import Request, write_requests
from export.requests.form import Bucket
from export.versions import CARD, EXTRA, check_new_version, new_version

WARM_UP, CARD_FOR_PEOPLE = "tf_serving_warmup_requests", "model_card.md"


@dataclass(frozen=True)
class Options:
    """How a run is exported.

    Attributes:
      version: positive; one more than the newest by default.
      steps: inner steps, frozen in the graph; the configuration's `adaptation.eval_steps` by default.
      checkpoint: `best` or `latest`.
      readout: `learner` (CML) or `co_learner` (CML-dagger).
      evaluate_episodes: test episodes to score for the model card; 0 for none.
      evaluation: instead, a file with what `evaluate` printed.
      service: what it allows its clients.
      confidence: a file of `python -m cml_tf.calibrate` for this run; None for probabilities as they are.
      strict: whether a damaged checkpoint is an error even if there is another one.
    """

    version: int | None = None
    steps: int | None = None
    checkpoint: str = "best"
    readout: str = "learner"
    evaluate_episodes: int = 0
    evaluation: Path | None = None
    service: Service = Service()
    confidence: Path | None = None
    strict: bool = False


def export_run(workdir: Path, model_dir: Path, options: Options | None = None) -> Path:
    """Exports a run as a new version of a model, after it passed the parity gate.

    Args:
      workdir: of the run.
      model_dir: of the model; a server is pointed at it. Its last part is the model's name.
      options: what to export.

    Returns:
      The directory of the version.

    Raises:
      ExportError: if the model cannot be served, or the export does not answer as the library does. Nothing is left
        behind then.
      RunError, CheckpointError, DatasetError: if the run cannot be used.
    """
    options = options or Options()
    if not member("readout", options.readout).traits["through_head"]:
        raise ExportError(f"readout must be one of {through_head()}, received {options.readout!r}.")
    if options.evaluate_episodes and options.evaluation:
        raise ExportError("evaluate_episodes and evaluation cannot be combined: use only one of them.")
    # Before minutes of work are done for it.
    check_new_version(model_dir, options.version)
    experiment = load_run(workdir, options.checkpoint, options.strict)
    try:
        model = exportable(experiment, options)
    except ValueError as error:
        raise ExportError(f"{workdir}: {error}") from error
    origin = of_run(experiment, options.checkpoint)
    settings = experiment.config
    shots = max((settings.dataset.shots, *settings.dataset.get("shots_range", ())))
    buckets = _buckets(model, shots, settings.eval.queries or settings.dataset.queries)
    metrics = _metrics(experiment, model.method, options)
    return _publish(model, origin, model_dir, options.version, options.readout, buckets, metrics, options.service)


def export_model(
    model: FewShotModel,
    model_dir: str | Path,
    shots: int,
    queries: int,
    steps: int | None = None,
    version: int | None = None,
    normalise_features: bool | None = None,
    service: Service | None = None,
    confidence: Confidence | None = None,
) -> Path:
    """Exports a model that was trained from Python, or read by `cml_tf.load`, as `export_run` does a run.

    Args:
      model: with a value range, unless it is on nodes.
      model_dir: of the model; a server is pointed at it. Its last part is the model's name.
      shots: support examples a class of the requests that are tried (regression: examples), positive.
      queries: likewise.
      steps: inner steps, frozen in the graph; the model's own by default.
      version: positive; one more than the newest by default.
      normalise_features: of a model on nodes, which does not know it: whether in training the features of each node
        were divided by their sum (`dataset.normalise_features` of a run). None for others.
      service: what it allows its clients.
      confidence: fitted for this model (`cml_tf.readouts.confidence.fit`).

    Returns:
      The directory of the version.

    Raises:
      ExportError: as `export_run`.
    """
    if not all(isinstance(count, int) and count >= 1 for count in (shots, queries)):
        raise ExportError(f"shots and queries must be whole numbers of at least 1, received {shots!r} and {queries!r}.")
    on_nodes = bool(tf.nest.flatten(model.method.learner.context))
    if on_nodes != (normalise_features is not None):
        raise ExportError(
            "normalise_features must be True or False for a model on nodes and None for any other model, received "
            f"{normalise_features}: pass True if the features of each node were divided by their sum in training."
        )
    if model.value_range is None and not on_nodes:
        raise ExportError(
            "the model must have an input range to be exported: create it with FewShotModel.of(trainer, (lowest, "
            "highest))."
        )
    check_new_version(Path(model_dir), version)
    method = model.method.with_steps(steps)
    value_range = model.value_range or (0.0, 0.0)
    served = Exportable(method, model.problem, value_range, bool(normalise_features), confidence=confidence)
    origin = of_model(model, served, shots, queries)
    buckets = _buckets(served, shots, queries)
    return _publish(served, origin, Path(model_dir), version, "learner", buckets, None, service or Service())


def _publish(
    model: Exportable,
    origin: Origin,
    model_dir: Path,
    version: int | None,
    readout: str,
    buckets: list[Bucket],
    metrics: dict[str, Any] | None,
    service: Service,
) -> Path:
    name = model_dir.resolve().name
    model = service.with_signatures(model, buckets)
    digest = variables_digest(variable.value for _, variable in model.named_variables)
    reference = Reference(model, fingerprint(digest))
    warm_up = warm_up_requests(model, buckets, reference)
    queries = query_dependence(model, warm_up, reference)
    model = service.with_limits(model, buckets, not queries["predictions_depend_on_other_queries"])
    module = ServingModule(model)
    off = state_difference(model, warm_up, reference)
    card = model_card(name, model, module, origin, readout, queries, metrics, off)
    with new_version(model_dir, version) as draft:
        extra = draft.path / EXTRA
        service.write(draft.path)
        write_version(draft.path, module, warm_up, name)
        write_json(extra / CARD, card)
        write_text(extra / CARD_FOR_PEOPLE, card_markdown(card))
        if origin.config is not None:
            write_json(extra / CONFIG, origin.config)
        check_version(draft.path, model, reference, warm_up, co_learner_names(origin.trained, model))
    assert draft.published is not None
    return draft.published


def exportable(experiment: Experiment, options: Options) -> Exportable:
    """What of a loaded run is exported.

    Raises:
      ValueError: if the run has no such readout.
      ExportError: if it cannot be served.
    """
    method = evaluation_method(experiment, options.steps, options.readout)
    normalise_features = experiment.config.dataset.get("normalise_features", False)
    confidence = None if options.confidence is None else read_confidence(options.confidence)
    return Exportable(
        method, experiment.problem, experiment.data.value_range, normalise_features, confidence=confidence
    )


def write_version(directory: Path, module: ServingModule, warm_up: Iterable[Request], name: str) -> None:
    """Writes the SavedModel and its warm-up requests."""
    # Nobody differentiates what is served; the derivatives of custom gradients would be a large part of the file.
    options = tf.saved_model.SaveOptions(experimental_custom_gradients=False)
    tf.saved_model.save(module, str(directory), signatures=module.signatures(), options=options)
    (directory / EXTRA).mkdir()
    write_requests(directory / EXTRA / WARM_UP, warm_up, name)


def check_version(
    directory: Path, model: Exportable, reference: Reference, warm_up: list[Request], forbidden: Iterable[str]
) -> None:
    """Raises ExportError unless what was written is what was meant, and answers as the library does."""
    check_file(directory, forbidden, len(model.named_variables))
    check_parity(model, directory, directory / EXTRA / WARM_UP, warm_up, reference)


def _metrics(experiment: Experiment, method: Method, options: Options) -> dict | None:
    if options.evaluation:
        return read_evaluation(options.evaluation, experiment.problem.metric, options.readout)
    if options.evaluate_episodes:
        return {**measured(experiment, method, options.evaluate_episodes), "readout": options.readout}
    return None


def _buckets(model: Exportable, shots: int, queries: int) -> list[Bucket]:
    return shape_buckets(model.problem.outputs if model.classification else 1, shots, queries)

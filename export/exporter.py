"""From a run to a version that a server can load."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import tensorflow as tf

from cml_tf.experiments.configuration import config_to_json
from cml_tf.experiments.experiment import Experiment
from cml_tf.experiments.runs import CONFIG, evaluation_method, load_run
from cml_tf.files import write_json, write_text
from cml_tf.method import Method
from export.card_markdown import card_markdown
from export.errors import ExportError
from export.evaluation import measured, read_evaluation
from export.exportable import Exportable
from export.inspection import check_file, co_learner_names
from export.model_card import model_card
from export.parity import check_parity
from export.query_dependence import query_dependence
from export.reference import Reference
from export.request_files import Request, write_requests
from export.serving_module import ServingModule
from export.versions import new_version
from export.warm_up import shape_buckets, warm_up_requests

EXTRA = "assets.extra"
WARM_UP, CARD, CARD_FOR_PEOPLE = "tf_serving_warmup_requests", "model_card.json", "model_card.md"
# co_learner_theta_adapted adapts through one head and reads another: two heads would have to be served.
READOUTS = ("learner", "co_learner")


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
    """

    version: int | None = None
    steps: int | None = None
    checkpoint: str = "best"
    readout: str = "learner"
    evaluate_episodes: int = 0
    evaluation: Path | None = None


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
    if options.readout not in READOUTS:
        raise ExportError(f"readout must be one of {', '.join(READOUTS)}, received {options.readout!r}.")
    if options.evaluate_episodes and options.evaluation:
        raise ExportError("give evaluate_episodes or evaluation, not both.")
    experiment = load_run(workdir, options.checkpoint)
    try:
        model = exportable(experiment, options)
    except ValueError as error:
        raise ExportError(f"{workdir}: {error}") from error
    name = model_dir.resolve().name
    metrics = _metrics(experiment, model.method, options)
    module = ServingModule(model)
    reference = Reference(model, module.fingerprint)
    warm_up = warm_up_requests(model, _buckets(experiment, model), reference)
    release = {"readout": options.readout, "checkpoint": options.checkpoint}
    queries = query_dependence(model, warm_up, reference)
    card = model_card(name, model, module, experiment, release, queries, metrics)
    with new_version(model_dir, options.version) as draft:
        extra = draft.path / EXTRA
        write_version(draft.path, module, warm_up, name)
        write_json(extra / CARD, card)
        write_text(extra / CARD_FOR_PEOPLE, card_markdown(card))
        write_json(extra / CONFIG, config_to_json(experiment.config))
        check_version(draft.path, model, reference, warm_up, co_learner_names(experiment.trainer.method, model))
    assert draft.published is not None
    return draft.published


def exportable(experiment: Experiment, options: Options) -> Exportable:
    """What of a loaded run is exported.

    Raises:
      ValueError: if the run has no such readout.
      ExportError: if it cannot be served.
    """
    method = evaluation_method(experiment, options.steps, options.readout)
    normalise_features = experiment.config.dataset.normalise_features
    return Exportable(method, experiment.problem, experiment.data.value_range, normalise_features)


def write_version(directory: Path, module: ServingModule, warm_up: Iterable[Request], name: str) -> None:
    """Writes the SavedModel and its warm-up requests."""
    tf.saved_model.save(module, str(directory), signatures=module.signatures())
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


def _buckets(experiment: Experiment, model: Exportable) -> list:
    settings = experiment.config
    classes = model.problem.outputs if model.classification else 1
    queries = settings.eval.queries or settings.dataset.queries
    return shape_buckets(classes, settings.dataset.shots, queries)

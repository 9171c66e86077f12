"""Runs: a working directory with its configuration, metrics and checkpoints; made, resumed and evaluated here.

A run may be scored on the episodes of another dataset: trained on one set, tested on another.
"""

from __future__ import annotations

import itertools
import json
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import keras
from ml_collections import ConfigDict

from cml_tf import datasets
from cml_tf.adaptation.single_queries import SingleQueries
from cml_tf.datasets import DatasetError, EpisodeSource
from cml_tf.datasets.benchmarks.catalogue import BENCHMARKS
from cml_tf.datasets.benchmarks.class_splits import class_splits
from cml_tf.errors import Interrupted
from cml_tf.experiments.callbacks import Checkpoints, EpochEvents, MetricsFile, StopOnInterrupt
from cml_tf.experiments.configuration import check_config, config_to_json, flatten
from cml_tf.experiments.experiment import Experiment, build_experiment
from cml_tf.experiments.settings import alike
from cml_tf.experiments.stored import (
    CHECKPOINTS,
    CONFIG,
    LATEST,
    MACHINE,
    MAY_MOVE,
    METRICS,
    RunError,
    Stored,
    check_belongs,
    check_data,
    check_files,
    check_metrics,
    check_workdir,
    clear_killed,
    has_checkpoint,
    holds,
    read_config,
    stored_checkpoint,
    write_described,
)
from cml_tf.problems import Classification
from cml_tf.readouts import read_through
from cml_tf.system.files import Held, locked, parsed_json
from cml_tf.system.machine import label, machine
from cml_tf.training.evaluator import Evaluation, Evaluator
from cml_tf.training.method import Method
from cml_tf.training.replicas import ONE, Replicas


def train_run(
    config: ConfigDict,
    workdir: Path,
    verbose: int = 1,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    replicas: Replicas = ONE,
    keep: int = 2,
    strict: bool = False,
) -> Experiment:
    """Trains, or resumes exactly; a finished run returns at once.

    Args:
      config: of the run. When `workdir` holds a run already, only `train.steps` may differ, and only grow, and
        `dataset.root`, when the same data lie elsewhere now, and `train.accumulate`.
      workdir: gets `config.json`, `machine.json`, `manifest.json`, `metrics.jsonl`, `tensorboard/` and `checkpoints/`.
      verbose: as in `Trainer.fit`.
      callbacks: more of them, such as `cml_tf.experiments.callbacks.PauseAt`, called after the run's early stopping and
        before its files are written, which hold their states, too.
      replicas: that share the tasks, another number of them at every start. Only the first process writes.
      keep: how many of the latest checkpoints stay, beside the best.
      strict: whether a damaged checkpoint is an error even if there is an earlier one to go on from.

    Raises:
      RunError: if `workdir` belongs to something else or to another configuration (nothing is written then), or
        another process trains in it.
      CheckpointError, DamagedFile: if a file there is not what was written, or a checkpoint is of other data.
      Interrupted: after a Ctrl-C, when everything is saved; after a second one, at once.
    """
    workdir = Path(workdir)
    check_config(config)
    replicas.check_divides(config.train.meta_batch, config.train.accumulate)
    if replicas.is_chief:
        check_workdir(config, workdir)
    experiment = build_experiment(config, replicas=replicas)
    trainer, stored = experiment.trainer, _restored(experiment, workdir, strict)
    known = {key: value for key, value in flatten(config_to_json(config)) if key != MAY_MOVE}
    # Nothing is written before all processes have read what is there.
    replicas.check_alike(
        "configuration, data and checkpoint", json.dumps([known, experiment.data, trainer.step], default=str)
    )
    finished = trainer.finished(config.train.steps)
    if not replicas.is_chief:
        if not finished:
            _fit(experiment, 0, [*_callbacks(experiment), *callbacks])
        return experiment
    if finished:
        logging.getLogger(__name__).info("%s finished after %d steps", workdir, trainer.step)
    if finished and holds(workdir, config):
        return experiment
    workdir.mkdir(parents=True, exist_ok=True)
    try:
        with locked(workdir):
            clear_killed(workdir)
            write_described(workdir, {CONFIG: config_to_json(config), **({} if finished else {MACHINE: machine()})})
            if not finished:
                sound = stored is not None and stored.path.name == LATEST
                written = _written(experiment, workdir, keep, sound)
                _fit(experiment, verbose, [*_callbacks(experiment), *callbacks, *written])
    except Held:
        raise RunError(f"another process is training in {workdir}: wait for it, or choose another directory.") from None
    return experiment


def _restored(experiment: Experiment, workdir: Path, strict: bool) -> Stored | None:
    """The checkpoint that training goes on from, already in the trainer; None where it begins."""
    if not has_checkpoint(workdir):
        return None
    stored = stored_checkpoint(workdir, "latest", strict)
    check_belongs(stored, experiment.config)
    check_data(experiment.data, stored.data, stored.path)
    check_metrics(workdir, stored.metadata, strict)
    experiment.trainer.restore(stored.values, stored.metadata)
    return stored


def _fit(experiment: Experiment, verbose: int, callbacks: Sequence[keras.callbacks.Callback]) -> None:
    config, trainer, interrupt = experiment.config, experiment.trainer, StopOnInterrupt()
    replicas, at_once, began = trainer.replicas, False, trainer.step
    try:
        trainer.fit(
            experiment.episodes("train"),
            config.train.steps,
            [interrupt, *callbacks],
            experiment.validation(),
            config.train.validate_every,
            config.train.meta_batch,
            verbose,
        )
    except KeyboardInterrupt:
        if not interrupt.requested:
            raise
        at_once = True
    finally:
        interrupt.release()
    # Who was interrupted before the first step left the others where nobody counts.
    if at_once or (replicas.anywhere(interrupt.requested) and not trainer.finished(config.train.steps)):
        # A second signal did not wait for the checkpoint of the first.
        lost = "; those since the last checkpoint are lost" if at_once and trainer.step > began else ""
        raise Interrupted(
            f"stopped after {trainer.step} of {config.train.steps} steps{lost}. Run the same command again to resume."
        )


def load_run(workdir: Path, checkpoint: str = "best", strict: bool = False) -> Experiment:
    """A run with the variables of a checkpoint. Its dataset need not be there until episodes are asked for.

    Args:
      workdir: of the run.
      checkpoint: `best` (by validation score) or `latest`.
      strict: whether a damaged checkpoint is an error even if there is another one.

    Raises:
      RunError: if there is no run in `workdir`.
      CheckpointError, DamagedFile: if a file is missing, or not what was written.
    """
    workdir = Path(workdir)
    path = workdir / CONFIG
    if not path.is_file():
        raise RunError(f"{workdir} contains no run ({CONFIG} is missing). Train one with python -m cml_tf.train.")
    check_files(workdir)
    stored, config = stored_checkpoint(workdir, checkpoint, strict), read_config(workdir)
    check_belongs(stored, config)
    experiment = build_experiment(config, stored.data)
    experiment.trainer.restore(stored.values, stored.metadata)
    return experiment


def trained_on(workdir: Path) -> dict[str, Any] | None:
    """The machine and packages of the last start that trained (`cml_tf.system.machine`); None where no run kept them.

    Raises:
      RunError: if the file is damaged.
    """
    path = Path(workdir) / MACHINE
    if not path.is_file():
        return None
    try:
        described = parsed_json(path.read_text(encoding="utf-8-sig"))
        label(described)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise RunError(
            f"{path} must describe the machine of a run ({type(error).__name__}: {error}): restore or delete the file."
        ) from error
    return dict(described)


def evaluate_run(
    workdir: Path,
    split: str = "test",
    episodes: int | None = None,
    steps: int | None = None,
    readout: str = "learner",
    checkpoint: str = "best",
    single_queries: bool = False,
    dataset: str = "",
    root: str = "",
    ways: int | None = None,
    shots: int | None = None,
    replicas: Replicas = ONE,
    strict: bool = False,
) -> Evaluation:
    """Scores a run on the first episodes of a split, which are the same for every run on the same data.

    Args:
      workdir: of the run.
      split: `train`, `validation` or `test`.
      episodes: how many; the configuration's by default.
      steps: inner steps; the configuration's `adaptation.eval_steps` by default.
      readout: see `cml_tf.readouts`.
      checkpoint: `best` or `latest`.
      single_queries: whether every query is predicted alone, as for a client who asks about one example.
      dataset: another dataset to score on (`cml_tf.experiments.runs`); that of the run when empty.
      root: folder with the files of that other dataset.
      ways: classes an episode; the configuration's by default. A model whose class rows are each learned on their own
        takes no other number.
      shots: support examples a class; the configuration's by default.
      replicas: that share the episodes; every process gets the whole result.
      strict: as in `load_run`.

    Raises:
      RunError, CheckpointError, DatasetError, ValueError: for whatever cannot be had as asked.
    """
    if root and not dataset:
        raise RunError(f"root is for another dataset, received root {root!r} without a dataset: name the dataset too.")
    experiment = load_run(workdir, checkpoint, strict)
    method = evaluation_method(experiment, steps, readout)
    if single_queries:
        method = Method.of(method.learner, SingleQueries(method.rule), method.terms)
    evaluator = Evaluator(method, experiment.problem.metric, replicas)
    replicas.align(itertools.chain(*method.all_variables().values()))
    if ways is not None and not isinstance(experiment.problem, Classification):
        raise RunError(f"ways is for classifications, received {ways} for a regression: leave it out.")
    if dataset:
        source = episodes_of(experiment, dataset, root, split, ways, shots)
    else:
        source = experiment.episodes(split, ways, shots)
    return evaluator.evaluate(source, episodes or experiment.config.eval.episodes, source.seed)


def evaluation_method(experiment: Experiment, steps: int | None = None, readout: str = "learner") -> Method:
    """The method that answers: evaluation steps, one readout, no co-learner unless it is read."""
    method = experiment.trainer.method
    rule = experiment.evaluation_rule(method.rule, steps)
    return read_through(Method.of(method.learner, rule, method.terms), experiment.problem, readout)


def _callbacks(experiment: Experiment) -> Iterator[keras.callbacks.Callback]:
    """What every process that trains has."""
    problem, patience = experiment.problem, experiment.config.train.patience
    if patience:
        mode = "max" if problem.higher_is_better else "min"
        yield keras.callbacks.EarlyStopping(f"val_{problem.metric}", patience=patience, mode=mode)


def _written(experiment: Experiment, workdir: Path, keep: int, sound: bool) -> Iterator[keras.callbacks.Callback]:
    """What the one process has that writes."""
    trainer, config = experiment.trainer, dict(flatten(config_to_json(experiment.config)))
    yield EpochEvents(str(workdir / "tensorboard"), write_graph=False)
    yield MetricsFile(workdir / METRICS, trainer)
    identity, better = {"data": experiment.data.to_json(), "config": config}, experiment.problem.higher_is_better
    yield Checkpoints(workdir / CHECKPOINTS, trainer, better, identity, keep, sound)


def episodes_of(
    experiment: Experiment, name: str, root: str, split: str, ways: int | None = None, shots: int | None = None
) -> EpisodeSource:
    """A split of another dataset of images, or of numbers, with ways, shots, queries and evaluation seed of the run.

    The image benchmarks and `image_folder` are made at the size of the run's images.

    Args:
      experiment: the run.
      name: of the other dataset.
      root: folder with its files, empty for none.
      split: of the other dataset.
      ways: instead of the run's, like the following.
      shots: likewise.

    Raises:
      DatasetError: if the two have not the same kind of examples, or have nodes of graphs; if the other's cannot be
        had at the run's size, it has no such split or too few classes or images in it, or the split has classes that
        the run was trained or chosen on.
    """
    own = experiment.config.dataset.name
    if name not in alike(own):
        raise DatasetError(
            f"a run on {own!r} can be scored on another dataset if that is one of "
            f"{', '.join(alike(own)) or 'none (nodes have no other graph)'}, received {name!r}."
        )
    _check_classes_are_new(own, name, split)
    shape, options = experiment.data.input_shape, dict[str, Any]()
    if name in BENCHMARKS or name == "image_folder":
        options["image_size"] = shape[:2]
    if name == "image_folder":
        options["channels"] = shape[2]
    dataset = datasets.load(name, root, **options)
    if dataset.input_shape != shape:
        raise DatasetError(
            f"examples of {name} must have the shape {shape} that the run was trained on (with {own}), "
            f"received {dataset.input_shape}: evaluate the run on a dataset of that shape."
        )
    settings = experiment.config.dataset
    # Those of an evaluation, also where it is of the other's training classes.
    sampled = experiment.sampled("test")
    source = dataset.episodes(split, ways=ways or settings.get("ways"), shots=shots or settings.shots, **sampled)
    return experiment.for_model(source) if isinstance(experiment.problem, Classification) else source


def _check_classes_are_new(own: str, other: str, split: str) -> None:
    """Some benchmarks are two splits of the same pictures: CIFAR-FS and FC100, miniImageNet and tieredImageNet."""
    if own == other or own not in BENCHMARKS or other not in BENCHMARKS:
        return
    seen = {name for part in ("train", "validation") for name in class_splits(own).classes.get(part, ())}
    asked = class_splits(other).classes.get(split, ())
    if known := [name for name in asked if name in seen]:
        raise DatasetError(
            f"the {split} classes of {other} must be new to a run on {own}, but {len(known)} of {len(asked)} are "
            f"among its training or validation classes ({', '.join(known[:3])}{', ...' if len(known) > 3 else ''}). "
            f"Score the run on a benchmark with other pictures, or train on {other}."
        )

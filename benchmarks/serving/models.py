"""Exports of full size with random parameters: what a call costs does not depend on what was learned."""

from __future__ import annotations

from pathlib import Path

import keras

from cml_tf.adaptation import SGD, GradientDescent
from cml_tf.episodes import Episode
from cml_tf.learners import Learner, conv4, mlp
from cml_tf.objectives import QueryLoss
from cml_tf.problems import Classification, Problem, Regression
from cml_tf.readouts import read_through
from cml_tf.training.method import Method
from cml_tf.training.trainer import Trainer
from export.exporter import write_version
from export.gate.reference import Reference
from export.gate.warm_up import warm_up_requests
from export.graph.buckets import Service
from export.graph.exportable import Exportable
from export.graph.serving_module import ServingModule
from export.requests.form import Bucket

WAYS, SHOTS, QUERIES = 5, 5, 15
_STEPS, _RATE = 5, 0.01
_IMAGE_SHAPE = (28, 28, 1)


def write_images(
    directory: Path, filters: int = 64, service: Service | None = None, normalisation: str = "batch_transductive"
) -> None:
    """A 5-way classifier of 28x28 images that makes five inner steps, as version `directory`.

    Args:
      directory: that is written.
      filters: of each block.
      service: what it allows its clients; everything, and no buckets, by default.
      normalisation: mode; with `batch_transductive`, an answer depends on the other queries.
    """
    buckets = [Bucket(WAYS * SHOTS, WAYS * QUERIES), Bucket(WAYS, WAYS), Bucket(WAYS, 1)]
    keras.utils.set_random_seed(0)
    learner = conv4(WAYS, _IMAGE_SHAPE, filters, normalisation)
    apart = normalisation != "batch_transductive"
    _write(directory, learner, Classification(WAYS), (0.0, 1.0), buckets, service, apart)


def write_waves(directory: Path) -> None:
    """The regression on sine waves, 1-40-40-1, that makes five inner steps, as version `directory`."""
    keras.utils.set_random_seed(0)
    buckets = [Bucket(10, 100), Bucket(5, 10), Bucket(3, 1)]
    _write(directory, mlp(1, (1,)), Regression(1), (-5.0, 5.0), buckets)


def write_configured(directory: Path, trainer: Trainer, episode: Episode) -> int:
    """What a configuration trains, untrained, as version `directory`, for tasks like the first one of an episode.

    Returns:
      How many numbers an adapted task of that size holds; 0 for models that adapt to their queries.
    """
    support, queries = (part.targets.shape[1] for part in (episode.support, episode.query))
    method = read_through(trainer.method, trainer.problem, "learner")
    model = Exportable(method, trainer.problem, (0.0, 1.0))
    _write_model(directory, model, [Bucket(support, queries)])
    return int(model.state_size(support))


def _write(
    directory: Path,
    learner: Learner,
    problem: Problem,
    value_range: tuple[float, float],
    buckets: list[Bucket],
    service: Service | None = None,
    independent_queries: bool = False,
) -> None:
    method = Method.of(learner, GradientDescent(problem, SGD(_RATE), _STEPS), [QueryLoss(problem)])
    model = Exportable(method, problem, value_range)
    if service is not None:
        model = service.with_limits(service.with_signatures(model, buckets), buckets, independent_queries)
    _write_model(directory, model, buckets)


def _write_model(directory: Path, model: Exportable, buckets: list[Bucket]) -> None:
    module = ServingModule(model)
    requests = warm_up_requests(model, buckets, Reference(model, module.fingerprint))
    directory.parent.mkdir(parents=True, exist_ok=True)
    write_version(directory, module, requests, directory.parent.name)

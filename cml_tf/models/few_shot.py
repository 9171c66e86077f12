"""A few-shot model from a recipe: fit, evaluate, adapt, save. What a notebook begins with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import keras

from cml_tf.datasets import EpisodeSource, FewShotDataset
from cml_tf.datasets.base import check_integer
from cml_tf.errors import UserError
from cml_tf.learners import Learner
from cml_tf.models.few_shot_model import AdaptedModel, FewShotModel, Summary
from cml_tf.models.learner_recipes import LearnerRecipe
from cml_tf.models.method_recipes import MethodRecipe
from cml_tf.models.score import Score
from cml_tf.models.scoring import ANY_WAYS, as_seen, check_dataset, check_examples
from cml_tf.models.task_sizes import TaskSizes
from cml_tf.problems import Classification
from cml_tf.readouts.confidence import Asked, Confidence, belonging_to, fit
from cml_tf.training.trainer import Trainer, Validation


class FewShot:
    """A learner and a method, meta-trained on a dataset.

    Example:
      >>> waves = cml_tf.datasets.load("sinusoid")
      >>> model = cml_tf.FewShot(cml_tf.mlp(hidden=(8, 8)), cml_tf.cml(rate=0.01, gamma=0.2), shots=5)
      >>> history = model.fit(waves, steps=2, validation_episodes=0, verbose=0)
      >>> score = model.evaluate(waves, episodes=4)
      >>> score.metric, score.episodes
      ('mse', 4)
      >>> task = model.adapt([[0.0], [1.0], [2.0]], [0.0, 0.8, 0.9])
      >>> task.predict([[0.5], [1.5]]).shape
      (2, 1)

    Args:
      learner: a recipe, such as `cml_tf.conv4()`, or a `cml_tf.Learner` around Keras models of your own.
      method: a recipe, such as `cml_tf.cml(rate=0.4)`.
      ways: classes a task; None for regression.
      shots: support examples a class (regression: a task).
      queries: query examples a class, in training and evaluation.
      ways_range: fewest and most classes of a training task, such as `(2, 20)`, each as likely as another; `ways` by
        default. The model then takes up to the most of them, with a method whose class rows begin alike, such as
        `cml_tf.method_of(class_rows="prototypes")`.
      shots_range: fewest and most support examples of each class in a training task; `shots` by default.
      seed: of initial weights and training episodes. Keras' global seed is set to it when the learner is built.
      optimizer: of the outer loop, see `cml_tf.Trainer`; Adam at 1e-3 by default.

    Raises:
      UserError: here for arguments that cannot be used, in all methods for what does not fit the model.
    """

    def __init__(
        self,
        learner: LearnerRecipe | Learner,
        method: MethodRecipe,
        *,
        ways: int | None = None,
        shots: int,
        queries: int = 15,
        ways_range: Sequence[int] = (),
        shots_range: Sequence[int] = (),
        seed: int = 0,
        optimizer: Any = None,
    ) -> None:
        _check_recipes(learner, method)
        self.sizes = TaskSizes(ways, shots, queries, ways_range, shots_range)
        self.seed = check_integer("seed", seed, minimum=0)
        self.learner = learner
        self.method = method
        self.optimizer = optimizer
        self._trainer: Trainer | None = None
        self._model: FewShotModel | None = None
        self._context: Any = ()

    @property
    def trainer(self) -> Trainer:
        """What trains; UserError before the first `fit`."""
        if self._trainer is None:
            raise UserError("the model is not trained yet: call fit(dataset, steps=2000) first.")
        return self._trainer

    @property
    def model(self) -> FewShotModel:
        """What adapts and predicts, with the weights of now; UserError before the first `fit`."""
        assert self.trainer is not None and self._model is not None
        return self._model

    def fit(
        self,
        dataset: FewShotDataset,
        steps: int = 1000,
        *,
        meta_batch: int = 4,
        validate_every: int = 100,
        validation_episodes: int = 100,
        callbacks: Sequence[keras.callbacks.Callback] = (),
        verbose: int | str = 1,
    ) -> dict[str, list[float]]:
        """Meta-trains by some more outer steps; a second call goes on where the first one ended.

        Args:
          dataset: of `cml_tf.datasets.load`, or of your own; its split `train` is trained on.
          steps: outer steps of this call.
          meta_batch: tasks a step.
          validate_every: outer steps between validations on the split `validation`.
          validation_episodes: tasks of a validation; 0 for none.
          callbacks: Keras callbacks; they see validation metrics with the prefix `val_`.
          verbose: 0 silent, 1 or "auto" progress bar, 2 one line a validation.

        Returns:
          The history: metric name to a list with one value for each `validate_every` steps.
        """
        check_integer("steps", steps, minimum=1)
        check_integer("validation_episodes", validation_episodes, minimum=0)
        self._check_dataset(dataset)
        # All splits are tried now: a test set that is too small should not come to light after the training.
        for split in dataset.splits:
            self.sizes.scored(dataset, split, 0)
        self.sizes.training(dataset, 0)
        with _as_user_errors():
            if self._trainer is None:
                self._build(dataset)
            dataset = as_seen(dataset, self.trainer.method.learner)
            validation = None
            if validation_episodes:
                validation = Validation(self.sizes.scored(dataset, "validation", 0), validation_episodes)
            source = self.sizes.training(dataset, self.seed)
            # Here alone: what is scored or calibrated on another graph must not change what `adapt` answers.
            self._context = source.context
            # A callback that ended the last call, such as early stopping, ended no more than that.
            self.trainer.stopped = False
            return self.trainer.fit(
                source,
                self.trainer.step + steps,
                callbacks,
                validation,
                validate_every,
                meta_batch,
                verbose,
            )

    def evaluate(
        self,
        dataset: FewShotDataset,
        episodes: int = 600,
        *,
        split: str = "test",
        seed: int = 0,
        steps: int | None = None,
        ways: int | None = None,
        shots: int | None = None,
    ) -> Score:
        """Scores the model on the first episodes of a split.

        Args:
          dataset: with examples like those of training.
          episodes: how many, at least 2.
          split: whose classes; those of `test` were never trained on.
          seed: which episodes. Models that are scored with one seed are scored on the same episodes.
          steps: inner steps; as many as in training by default.
          ways: classes a task, where the model takes any number of them; its own `ways` by default.
          shots: support examples a class; its own `shots` by default.

        Returns:
          Mean and 95 % interval over episodes.
        """
        sizes = self.sizes
        with _as_user_errors():
            return self.model.evaluate(
                dataset,
                episodes,
                shots=sizes.shots if shots is None else shots,
                queries=sizes.queries,
                ways=sizes.ways if ways is None else ways,
                split=split,
                seed=seed,
                steps=steps,
            )

    def calibrate(self, dataset: FewShotDataset, *, seed: int = 0, **asked: Any) -> Confidence:
        """Fits how sure answers may be, on tasks of the split `validation`: see docs/CONFIDENCE.md.

        Args:
          dataset: of a classification.
          seed: which tasks.
          **asked: of `cml_tf.readouts.confidence.Asked`: `shots`, `ways`, `calibration`, `coverage`, `open_set`,
            `false_accept`, `unknown`, `episodes`.

        Returns:
          What `export.exporter.export_model(model.model, directory, confidence=...)` puts into the graph; it belongs to
          the weights of now.
        """
        model = self.model
        self._check_dataset(dataset)
        seen = as_seen(dataset, model.method.learner)
        with _as_user_errors():
            wanted = Asked(**{"shots": (self.sizes.shots,), **asked})
            if isinstance(model.problem, Classification):
                wanted = wanted.within(model.problem.ways, len(seen.class_names("validation")))

            def validation(ways: int, shots: int) -> EpisodeSource:
                return seen.episodes("validation", ways=ways, shots=shots, queries=self.sizes.queries, seed=seed)

            return belonging_to(fit(model.method, model.problem, validation, wanted).confidence, model.method)

    def adapt(self, inputs: Any, targets: Any, steps: int | None = None, context: Any = None) -> AdaptedModel:
        """Adapts to one task of your own; see `FewShotModel.adapt`.

        Args:
          inputs: `[examples, ...]`, in the value range of the dataset.
          targets: classification: names or whole numbers, one an example; regression: `[examples, outputs]`.
          steps: inner steps; as many as in training by default.
          context: of learners that take one; the graph that the model was fitted on by default.
        """
        return self.model.adapt(inputs, targets, steps, self._context if context is None else context)

    def save(self, path: str | Path) -> None:
        """Saves what is needed to adapt and predict; the co-learner stays behind. `cml_tf.load(path)` reads it."""
        self.model.save(path)

    def summary(self) -> Summary:
        """The parameter counts of extractor (psi), head (theta) and co-learner (phi), as a text."""
        return self.model.summary()

    def _build(self, dataset: FewShotDataset) -> None:
        problem = self.sizes.problem
        keras.utils.set_random_seed(self.seed)
        built = self.method.build(self.learner, dataset, problem)
        if len(self.sizes.ways_range) and not built.rule.any_ways:
            raise UserError(f"ways_range needs {ANY_WAYS}, or leave it out.")
        trainer = Trainer(
            built.learner, built.rule, built.terms, problem, reducer=built.reducer, optimizer=self.optimizer
        )
        self._model = FewShotModel.of(trainer, dataset.value_range)
        self._trainer = trainer

    def _check_dataset(self, dataset: FewShotDataset) -> None:
        """Raises UserError unless the dataset is of this model's kind and, once it is built, has examples like it."""
        check_dataset(dataset, self.sizes.problem)
        if self._trainer is not None:
            check_examples(dataset, self._trainer.method.learner)


def _check_recipes(learner: Any, method: Any) -> None:
    wanted: tuple[tuple[str, Any, Any, str], ...] = (
        ("learner", learner, (LearnerRecipe, Learner), "a recipe such as cml_tf.conv4() or a cml_tf.Learner"),
        ("method", method, MethodRecipe, "a recipe such as cml_tf.cml(rate=0.4)"),
    )
    for name, value, kinds, told in wanted:
        if isinstance(value, kinds):
            continue
        remedy = ""
        if isinstance(value, keras.Layer):
            remedy = ": wrap it in cml_tf.Learner(extractor, head, input_shape=(28, 28, 1))"
        elif callable(value):
            remedy = ": call it with ()"
        received = getattr(value, "__name__", type(value).__name__)
        raise UserError(f"the {name} must be {told}, received {received}{remedy}.")


@contextmanager
def _as_user_errors() -> Iterator[None]:
    """What the layers below refuse is for the user to mend here: all that they are given comes from the user."""
    try:
        yield
    except UserError:
        raise
    except ValueError as error:
        raise UserError(str(error)) from error

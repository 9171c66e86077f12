"""Several models answer together: a vote, or a classifier on all their probabilities, after MetaDelta.

Chen et al. 2021 (arXiv 2102.10744) train several encoders, write the probabilities that they give a query side by side,
and fit classifiers to them on one half of held-back validation episodes: a generalised linear model, boosted trees,
naive Bayes, a random forest. The one that is best on the other half answers; so does the plain vote if none is better.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from cml_tf.datasets.base import EpisodeSource, check_integer
from cml_tf.errors import UserError
from cml_tf.models.few_shot_model import AdaptedModel, FewShotModel
from cml_tf.problems import Classification
from cml_tf.training.evaluator import Evaluation, manifest_hash

VOTE = "vote"
# Trees may give all their trust to columns that a task with fewer classes does not have.
_TINY = 1e-12


class Ensemble:
    """Models of one problem, answering together.

    Example:
      >>> model = cml_tf.load("letters")
      >>> ensemble = cml_tf.Ensemble([model, model])
      >>> ensemble.adapt(images, names).predict(questions).shape
      (4, 3)

    Args:
      models: two or more classifiers with the same ways and the same inputs.

    Attributes:
      models: as given.
      problem: that they solve.
      combiner: the name of what makes one answer of many: `vote` (the mean of the probabilities) until `fit` chooses.

    Raises:
      UserError: for fewer models, or models that do not fit each other.
    """

    def __init__(self, models: Sequence[FewShotModel]) -> None:
        self.models = tuple(models)
        if len(self.models) < 2:
            raise UserError(f"models must be two or more, received {len(self.models)}: pass all that are to answer.")
        problems = {model.problem for model in self.models}
        shapes = {_shapes(model) for model in self.models}
        if len(problems) > 1 or len(shapes) > 1:
            raise UserError(
                "models must solve one problem on one shape of inputs, received "
                f"{', '.join(sorted(str(problem) for problem in problems))} on {', '.join(sorted(shapes))}."
            )
        (problem,) = problems
        if not isinstance(problem, Classification):
            raise UserError(f"models must be classifiers, received {problem}: use each of them alone.")
        self.problem = problem
        self.combiner = VOTE
        self._combine: Callable[[np.ndarray], np.ndarray] = vote

    def adapt(self, inputs: Any, targets: Any, steps: int | None = None, context: Any = ()) -> AdaptedEnsemble:
        """Adapts every member to one task; arguments and errors are those of `FewShotModel.adapt`."""
        return AdaptedEnsemble(self, [model.adapt(inputs, targets, steps, context) for model in self.models])

    def fit(self, source: EpisodeSource, episodes: int = 100) -> dict[str, float]:
        """Fits the candidates on the first half of some episodes; the best on the second half answers from now on.

        Args:
          source: of validation episodes, which no member was trained on.
          episodes: how many, at least 4.

        Returns:
          The accuracy of every candidate on the second half, the chosen one's first. Of equals the vote is chosen.

        Raises:
          UserError: for fewer episodes, those of another problem, of different sizes, or with fewer classes than the
            models' ways, since a column that is never right cannot be fitted.
        """
        answered = self._answers(source, check_integer("episodes", episodes, minimum=4))
        half, ways = episodes // 2, self.problem.ways
        rows = np.concatenate([side_by_side(answer.padded(ways)) for answer in answered[:half]])
        labels = np.concatenate([answer.labels for answer in answered[:half]])
        if missing := sorted(set(range(ways)) - set(labels.tolist())):
            raise UserError(
                f"episodes to fit on must ask for all {ways} classes of the models, received none of label "
                f"{missing[0]}: pass episodes of {ways} ways."
            )
        combiners = {VOTE: vote, **_fitted(rows, labels)}
        scores = {
            name: float(np.mean([answer.score(combine, ways) for answer in answered[half:]]))
            for name, combine in combiners.items()
        }
        ranked = dict(sorted(scores.items(), key=lambda item: -item[1]))
        self.combiner = next(iter(ranked))
        self._combine = combiners[self.combiner]
        return ranked

    def evaluate(self, source: EpisodeSource, episodes: int, seed: int | None = None) -> Evaluations:
        """Scores the ensemble and every member on the same episodes, for `cml_tf.training.evaluator.compare`.

        Args:
          source: of episodes.
          episodes: how many, at least 2.
          seed: recorded in the results; the source's by default.

        Raises:
          UserError: for fewer episodes, those of another problem, or of different sizes.
        """
        answered = self._answers(source, check_integer("episodes", episodes, minimum=2))
        known, seed = manifest_hash(source, episodes), source.seed if seed is None else seed

        def evaluation(combine: Callable[[np.ndarray], np.ndarray]) -> Evaluation:
            scores = np.array([answer.score(combine, self.problem.ways) for answer in answered], np.float32)
            return Evaluation(self.problem.metric, scores, seed, known, {self.problem.metric: float(scores.mean())})

        members = tuple(evaluation(operator.itemgetter(number)) for number in range(len(self.models)))
        return Evaluations(evaluation(self._combine), members)

    def combined(self, probabilities: np.ndarray) -> np.ndarray:
        """One answer of many: `[members, examples, classes]`, with at most `ways` classes -> `[examples, classes]`."""
        classes, ways = probabilities.shape[-1], self.problem.ways
        combined = self._combine(padded(probabilities, ways))[:, :classes]
        if classes < ways:
            combined = (combined + _TINY) / (combined + _TINY).sum(-1, keepdims=True)
        return combined.astype(probabilities.dtype)

    def _answers(self, source: EpisodeSource, episodes: int) -> list[_Answer]:
        if source.problem != self.problem:
            raise UserError(f"episodes must be for {self.problem}, received episodes for {source.problem}.")
        return list(self._each_answer(source, episodes))

    def _each_answer(self, source: EpisodeSource, episodes: int) -> Iterator[_Answer]:
        for episode in source.batches(0, 1).take(episodes):
            if not all(isinstance(part.mask, tuple) for part in episode[:2]):
                raise UserError(
                    f"episodes must all have one size, received {type(source).__name__} with a mask: pass episodes of "
                    "fixed ways and shots."
                )
            support, query = (tf.nest.map_structure(_first, tuple(part[:2])) for part in episode[:2])
            # Labels, which are all there, stay what they are: column w is label w.
            tasks = [model.adapt(support[0], support[1], context=source.context) for model in self.models]
            yield _Answer(np.stack([task.predict(query[0]) for task in tasks]), query[1])


def _first(array: tf.Tensor) -> np.ndarray:
    return array[0].numpy()


def _shapes(model: FewShotModel) -> str:
    return str(tf.nest.map_structure(lambda leaf: list(leaf.shape[1:]), model.method.learner.example_inputs))


class Evaluations(NamedTuple):
    """What an ensemble and each of its members scored on the same episodes."""

    ensemble: Evaluation
    members: tuple[Evaluation, ...]


class AdaptedEnsemble:
    """An ensemble adapted to one task.

    Example:
      >>> model = cml_tf.load("letters")
      >>> task = cml_tf.Ensemble([model, model]).adapt(images, names)
      >>> len(task.classify(questions)), task.class_names
      (4, ('alpha', 'beta', 'gamma'))

    Attributes:
      class_names: of the columns of `predict`, sorted.
    """

    def __init__(self, ensemble: Ensemble, tasks: Sequence[AdaptedModel]) -> None:
        self.class_names = tasks[0].class_names
        self._ensemble = ensemble
        self._tasks = tuple(tasks)

    def predict(self, inputs: Any) -> np.ndarray:
        """Class probabilities `[examples, classes]` in `class_names` order."""
        answers = np.stack([task.predict(inputs) for task in self._tasks])
        return self._ensemble.combined(answers) if answers.shape[1] else answers[0]

    def classify(self, inputs: Any) -> list[str]:
        """The name of the most probable class of every example."""
        return [self.class_names[column] for column in self.predict(inputs).argmax(-1)]


class _Answer(NamedTuple):
    """Probabilities `[members, queries, classes]` of one episode, and the truth `[queries]`."""

    probabilities: np.ndarray
    labels: np.ndarray

    def padded(self, ways: int) -> np.ndarray:
        return padded(self.probabilities, ways)

    def score(self, combine: Callable[[np.ndarray], np.ndarray], ways: int) -> float:
        """Accuracy of one answer of many, among the classes of the episode."""
        answers = combine(self.padded(ways))[:, : self.probabilities.shape[-1]]
        return float(np.mean(answers.argmax(-1) == self.labels))


def padded(probabilities: np.ndarray, ways: int) -> np.ndarray:
    """`[members, examples, classes]` with a column of zeros for each class that the task lacks."""
    return np.pad(probabilities, ((0, 0), (0, 0), (0, ways - probabilities.shape[-1])))


def vote(probabilities: np.ndarray) -> np.ndarray:
    """The mean over members of `[members, examples, classes]`."""
    return probabilities.mean(0)


def side_by_side(probabilities: np.ndarray) -> np.ndarray:
    """`[members, examples, classes]` as one row an example, `[examples, members * classes]`."""
    return np.moveaxis(probabilities, 0, 1).reshape(probabilities.shape[1], -1)


def candidates() -> Mapping[str, Any]:
    """The classifiers of scikit-learn that are tried, unfitted, by name. The same data fit the same classifier."""
    # Here, since nothing but a fit needs it, and it takes a second to import.
    from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.naive_bayes import GaussianNB

    return {
        "logistic_regression": LogisticRegression(max_iter=1000),
        "boosted_trees": HistGradientBoostingClassifier(max_iter=50, random_state=0),
        "naive_bayes": GaussianNB(),
        "random_forest": RandomForestClassifier(n_estimators=100, min_samples_leaf=5, random_state=0),
    }


def _fitted(rows: np.ndarray, labels: np.ndarray) -> dict[str, Callable[[np.ndarray], np.ndarray]]:
    return {name: _combiner(model.fit(rows, labels)) for name, model in candidates().items()}


def _combiner(classifier: Any) -> Callable[[np.ndarray], np.ndarray]:
    return lambda probabilities: classifier.predict_proba(side_by_side(probabilities))

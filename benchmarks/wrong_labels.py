"""How well advice finds a wrong label: `python -m benchmarks.wrong_labels --workdirs=RUN,RUN,... --shots=5`.

In each test episode one support example gets the label of another class, drawn by a seed. Advice
(`export.client.advice`) leaves out each example in turn. Counted is how often its first suspect, or any suspect, is the
example with the wrong label, how many suspects there are without one, and what the queries' accuracy is with all
labels right, with one wrong, and after a person has looked at the first suspect, or at all, and set it right. Prints
one JSON object: of each the mean over runs and the half-width of its 95 % interval.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags

from cml_tf.experiments.runs import evaluation_method, load_run
from cml_tf.models.few_shot_model import FewShotModel
from cml_tf.studies.scores import OverSeeds
from cml_tf.system.command_line import run
from export.client.advice import leave_one_out
from export.client.answers import Answer
from export.client.interface import Interface
from export.client.packing import Task

_WORKDIRS = flags.DEFINE_list("workdirs", None, "Directories of runs of a classifier, one a seed.", required=True)
_SHOTS = flags.DEFINE_integer("shots", 5, "Support examples of each class.", 2)
_EPISODES = flags.DEFINE_integer("episodes", 100, "Test episodes of each run.", 2)


class InProcess:
    """A client of a model in this process, as far as advice needs one."""

    def __init__(self, model: FewShotModel) -> None:
        self._model = model
        self._interface = Interface(1, (), model.problem.outputs, True, False, {})

    def interface(self) -> Interface:
        """Of a classification."""
        return self._interface

    def adapt_and_predict_tasks(self, tasks: Sequence[Task]) -> list[Answer]:
        """One answer a task."""
        return [self.answer(task.support_inputs, task.support_targets, task.query_inputs) for task in tasks]

    def answer(self, inputs: np.ndarray, names: list[str], queries: np.ndarray) -> Answer:
        """Probabilities of the queries of one task."""
        task = self._model.adapt(inputs, names)
        return Answer(task.predict(queries), task.class_names)


def main(arguments: list[str]) -> None:
    """Measures every run, and prints."""
    del arguments
    runs = [_measured(Path(workdir)) for workdir in _WORKDIRS.value]
    found = {}
    for key in runs[0]:
        score = OverSeeds.of([row[key] for row in runs], 4)
        found[key] = [score.mean, score.half_width]
    print(json.dumps({"shots": _SHOTS.value, "episodes": _EPISODES.value, "runs": len(runs), **found}))


def _measured(workdir: Path) -> dict[str, float]:
    experiment = load_run(workdir)
    method = evaluation_method(experiment)
    client = InProcess(FewShotModel(method, experiment.problem, experiment.data.value_range))
    episodes = experiment.episodes("test", shots=_SHOTS.value)
    rng = np.random.default_rng(0)
    rows = [_episode(client, episodes.batch(position, 1), rng) for position in range(_EPISODES.value)]
    return {key: float(np.mean([row[key] for row in rows])) for key in rows[0]}


def _episode(client: InProcess, episode: Any, rng: np.random.Generator) -> dict[str, float]:
    inputs, classes = episode.support.inputs.numpy()[0], episode.support.targets.numpy()[0]
    queries, truth = episode.query.inputs.numpy()[0], episode.query.targets.numpy()[0]
    names = [f"class {number}" for number in classes]
    place = int(rng.integers(len(names)))
    others = sorted(set(names) - {names[place]})
    wrong = [*names]
    wrong[place] = others[rng.integers(len(others))]
    clean, judged = leave_one_out(client, inputs, names), leave_one_out(client, inputs, wrong)
    first = judged.suspects[0] if judged.suspects else None

    def accuracy(labels: list[str]) -> float:
        answer = client.answer(inputs, labels, queries)
        assert answer.classes is not None
        return float(np.mean([name == f"class {number}" for name, number in zip(answer.classes, truth, strict=True)]))

    right, as_it_is = accuracy(names), accuracy(wrong)
    return {
        "first_suspect_is_it": float(first == place),
        "among_suspects": float(place in judged.suspects),
        "false_suspects": float(len(clean.suspects)),
        "accuracy_right_labels": right,
        "accuracy_one_wrong": as_it_is,
        "accuracy_first_suspect_looked_at": right if first == place else as_it_is,
        "accuracy_all_suspects_looked_at": right if place in judged.suspects else as_it_is,
    }


if __name__ == "__main__":
    run(main)

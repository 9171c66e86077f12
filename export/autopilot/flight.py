"""An autopilot from its start to its report: opens or continues a directory, and tells what happens."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
from rich.console import Console

from cml_tf.datasets.base import SPLITS
from cml_tf.errors import Interrupted, UserError
from cml_tf.experiments.loading import model_of
from cml_tf.experiments.runs import load_run
from cml_tf.studies.pictures.of_runs import picture_of_episode
from cml_tf.system.files import Held, locked
from cml_tf.system.stages import duration
from export.autopilot.candidates import Network, candidates
from export.autopilot.controller import Controller, Outcome
from export.autopilot.journal import Budget, Journal
from export.autopilot.report import Shown, write_report
from export.autopilot.signals import Signals
from export.autopilot.survey import Survey, Wishes, survey
from export.autopilot.trying import Trials

LINKS = "pictures"
# Test episodes whose questions are also asked one at a time.
_ALONE = 10


@dataclass(frozen=True)
class Order:
    """What somebody wants.

    Attributes:
      data: folder of pictures.
      minutes: to be spent, in all starts together.
      workdir: for runs, model and report.
      seed: of the splits, the weights and the episodes.
      wishes: what is not to be chosen.
      network: one that was trained before, if there is one.
    """

    data: Path
    minutes: float
    workdir: Path
    seed: int = 0
    wishes: Wishes = Wishes()
    network: Network | None = None


def fly(order: Order, console: Console, clock: Callable[[], float] = time.monotonic) -> Outcome:
    """Makes the best model that the minutes allow.

    Args:
      order: what is wanted. With the same one again it goes on where it stopped; minutes may grow.
      console: where to say what happens.
      clock: seconds that only grow.

    Raises:
      UserError, DatasetError: for a folder or a time that is not enough, or a directory of something else.
      Interrupted: after Ctrl-C, when the best so far is exported.
    """
    journal = Journal.open(order.workdir, _settings(order))
    budget = Budget(order.minutes, journal.spent, clock)
    # An export without a score, after Ctrl-C in a later start, is not what was asked for.
    if journal.result.get("score") and order.minutes <= journal.finished:
        outcome = Outcome(**journal.result)
        console.print(
            f"finished before: {outcome.version}. Set more --minutes to go on.", markup=False, highlight=False
        )
        return outcome
    order.workdir.mkdir(parents=True, exist_ok=True)
    try:
        with locked(order.workdir), Signals() as signals:
            return _fly(order, journal, budget, signals, console)
    except Held:
        raise UserError(
            f"another process works in {order.workdir}: wait for it, or choose another --workdir."
        ) from None


def _fly(order: Order, journal: Journal, budget: Budget, signals: Signals, console: Console) -> Outcome:
    def tell(what: str) -> None:
        left = duration(max(0.0, budget.left))
        console.print(f"[{left} left] {what}", markup=False, highlight=False, soft_wrap=True)

    # Before anything is kept: a folder that cannot be used leaves nothing behind.
    found = survey(order.data, order.workdir / LINKS, order.seed, _first_minutes(order, journal), order.wishes)
    _check_same(order.workdir, journal, found)
    tell(f"{found.pictures} pictures of {sum(map(len, found.classes.values()))} classes: {'; '.join(found.chosen)}")
    tried = candidates(found, order.network)
    journal.save(order.workdir)
    found.link()
    trials = Trials(order.workdir, found, order.seed, journal, budget, signals, tell)
    outcome = Controller(order.workdir, tried, trials, journal, budget, signals, tell).run()
    shown = None
    if not signals.asked():
        try:
            shown = _show(trials, outcome, budget)
        except ArithmeticError as error:
            tell(f"the report shows no answers: {error}")
    journal.spent = budget.spent
    journal.save(order.workdir)
    page = write_report(order.workdir, order.minutes, found, tried, journal, outcome, shown)
    tell(f"{page} says what was tried, how sure the score is, and how to serve the model")
    if signals.asked():
        raise Interrupted(f"stopped; the best so far is {outcome.version}. Run the same command again to go on.")
    return outcome


def _settings(order: Order) -> dict[str, object]:
    network = order.network
    return {
        "data": str(order.data.resolve()),
        "seed": order.seed,
        **{"ways": order.wishes.ways, "shots": order.wishes.shots, "image_size": order.wishes.image_size},
        **{"network": network.network if network else "", "weights": network.weights if network else ""},
    }


def _first_minutes(order: Order, journal: Journal) -> float:
    """Those of the first start: more of them later must not change the size of the pictures."""
    return float(journal.settings.setdefault("first_minutes", order.minutes))


def _check_same(workdir: Path, journal: Journal, found: Survey) -> None:
    classes = {split: list(found.classes[split]) for split in SPLITS}
    if journal.settings.setdefault("classes", classes) != classes:
        raise UserError(f"the folder of pictures has other classes than when {workdir} was begun: choose another one.")


def _show(trials: Trials, outcome: Outcome, budget: Budget) -> Shown:
    """Answers to the first test episodes, which nobody selected."""
    keras.backend.clear_session()
    experiment = load_run(trials.directory(outcome.winner), outcome.checkpoint)
    names, source, model = experiment.dataset.class_names("test"), experiment.episodes("test"), model_of(experiment)
    episode = picture_of_episode(model, source, 0, names)
    began, together, alone = budget.clock(), [], []
    for number in range(_ALONE):
        one = picture_of_episode(model, source, number, names)
        task = model.adapt(one.support_images, one.support_labels)
        answers = [task.predict(image[None])[0].argmax() for image in one.query_images]
        together.append(one.accuracy)
        alone.append(float(np.mean(answers == one.query_labels)))
        if budget.left < (budget.clock() - began) / len(alone):
            break
    return Shown(episode, len(alone), float(np.mean(together)), float(np.mean(alone)))

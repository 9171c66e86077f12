"""How the minutes are spent, with a clock and trainings of the test's own."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from cml_tf.errors import Interrupted, UserError
from cml_tf.training.evaluator import Diverged, Evaluation
from export.autopilot import controller as module
from export.autopilot.candidates import Candidate
from export.autopilot.controller import Controller
from export.autopilot.journal import Budget, Journal, Point
from export.autopilot.signals import Signals
from export.errors import ExportError

START, EPISODE, EXPORT = 10.0, 0.01, 30.0
_VOTE = Controller._vote


@dataclass
class World:
    """Candidates with the accuracies that they reach, and what was done with them."""

    accuracies: dict[str, float]
    workdir: Path
    now: float = 0.0
    fail: str = ""
    diverges: str = ""
    refused: str = ""
    interrupt: tuple[str, int] = ("", 0)
    turns: list[tuple[str, float]] = field(default_factory=list)
    exported: list[tuple[str, str]] = field(default_factory=list)
    tested: list[tuple[str, int]] = field(default_factory=list)
    told: list[str] = field(default_factory=list)

    def __post_init__(self):
        self.signals = Signals()

    def fly(self, minutes, journal=None):
        """A start with a journal of before, or a new one."""
        self.journal = journal or Journal({})
        self.budget = Budget(minutes, self.journal.spent, lambda: self.now)
        self.signals = Signals()
        tried = [Candidate(name, "", "", {}) for name in self.accuracies]
        return Controller(self.workdir, tried, self, self.journal, self.budget, self.signals, self.told.append).run()

    def train(self, candidate, seconds):
        name, journal = candidate.name, self.journal
        began = self.now
        self.now += START
        journal.starts[name] = START
        journal.steps[name] = journal.steps.get(name, 0) + 1
        self.now += max(0.0, seconds())
        self.turns.append((name, round(self.now - began, 3)))
        journal.spent = self.budget.spent
        if self.fail == name:
            journal.left_out[name] = "failed"
            return False
        if self.interrupt == (name, journal.steps[name]):
            self.signals.ask()
        journal.episode[name] = EPISODE
        journal.trained[name] = journal.trained.get(name, 0.0) + self.now - began
        journal.points.append(Point(name, journal.steps[name], journal.trained[name], self.accuracies[name]))
        return True

    def test_episodes(self, name):
        return name

    def directory(self, name):
        return self.workdir / name

    def checkpoint(self, name):
        return "" if name == self.fail else "best"

    def evaluate(self, path, split, episodes, checkpoint):
        self.now += START + episodes * EPISODE
        if path.name in self.diverges:
            raise Diverged("not finite in an episode. Use fewer steps.")
        self.tested.append((path.name, episodes))
        return Evaluation("accuracy", np.linspace(0.5, 0.7, episodes), 0, "known", {})

    def export(self, path, model, options):
        self.now += EXPORT
        if path.name in self.refused:
            raise ExportError("the model diverges on ordinary inputs.")
        told = json.loads(options.evaluation.read_text())["split"] if options.evaluation else "not scored"
        self.exported.append((path.name, told))
        return model / str(len(self.exported))


@pytest.fixture
def world(tmp_path, monkeypatch):
    """Six candidates, of which the third is the best; nobody votes."""
    accuracies = {"a": 0.5, "b": 0.6, "c": 0.9, "d": 0.8, "e": 0.4, "f": 0.7}
    world = World(accuracies, tmp_path)
    # Of models, of which there are none here: it would look at all that other tests left.
    monkeypatch.setattr(module.keras.backend, "clear_session", lambda: None)
    monkeypatch.setattr(module, "evaluate_run", world.evaluate)
    monkeypatch.setattr(module, "export_run", world.export)
    monkeypatch.setattr(Controller, "_vote", lambda self, names, score: ({}, "not in this test"))
    return world


def test_the_best_is_trained_longest_tested_and_exported_in_time(world):
    outcome = world.fly(minutes=20)
    assert outcome.winner == "c" and world.exported == [("c", "test")] and world.tested == [("c", 600)]
    assert [name for name, _ in world.turns] == [*"abcdef", *"cdf", *"cd", "c"]
    shares = dict(world.turns)
    assert shares["c"] == max(shares.values())
    assert 0.9 * 20 * 60 < world.budget.spent <= 20 * 60
    assert "behind: 40.0 %" in world.journal.left_out["e"]
    assert Journal.open(world.workdir, {}).result["winner"] == "c"


def test_a_short_time_is_for_fewer_candidates_and_the_others_are_told(world):
    outcome = world.fly(minutes=5)
    assert {name for name, _ in world.turns} == {"a", "b"} and outcome.winner == "b"
    assert set(world.journal.left_out) == {"a", "c", "d", "e", "f"}
    assert world.journal.left_out["c"] == "no time: each start takes 10 s"
    assert world.budget.spent <= 5 * 60


def test_minutes_that_are_too_few_are_told_with_how_many_are_needed(world):
    with pytest.raises(UserError, match=r"--minutes must be at least (\d+) here, received 1: .* What was done is kept"):
        world.fly(minutes=1)
    assert world.turns == [("a", START)] and not world.exported
    needed = int(str(pytest.raises(UserError, world.fly, 1, world.journal).value).split("least ")[1].split(" ")[0])
    assert world.fly(needed + 1, world.journal).winner == "a"


def test_an_interruption_exports_the_best_so_far_unscored_and_the_same_again_goes_on(world):
    world.interrupt = ("c", 1)
    outcome = world.fly(minutes=20)
    assert (outcome.winner, outcome.score) == ("c", {}) and world.exported == [("c", "not scored")]
    assert [name for name, _ in world.turns] == [*"abc"]
    outcome = world.fly(20, world.journal)
    # The turn that was interrupted is taken again.
    assert [name for name, _ in world.turns][3:9] == [*"cdef", *"cd"] and outcome.score["split"] == "test"
    assert world.exported[1] == ("c", "test") and world.budget.spent <= 20 * 60


def test_more_minutes_later_go_to_the_best(world):
    world.fly(minutes=20)
    before = len(world.turns)
    world.fly(30, world.journal)
    assert [name for name, _ in world.turns[before:]] == ["c"] and world.turns[-1][1] > 400


def test_more_minutes_that_are_too_few_change_nothing(world):
    outcome = world.fly(minutes=20)
    done = (len(world.turns), len(world.exported), len(world.tested))
    assert world.fly(20.5, world.journal) == outcome
    assert (len(world.turns), len(world.exported), len(world.tested)) == done


def test_an_unscored_export_of_a_later_start_is_tested_by_the_same_command(world):
    world.fly(minutes=10)
    spent = world.journal.spent
    world.interrupt = ("c", world.journal.steps.get("c", 0) + 1)
    assert world.fly(20, world.journal).score == {} and world.journal.finished == 10
    # Late: what is left is too short for another training.
    world.journal.spent = 20 * 60 - 60
    outcome = world.fly(20, world.journal)
    assert outcome.score["split"] == "test" and world.exported[-1] == ("c", "test") and world.journal.finished == 20
    assert spent < 10 * 60


class KilledError(BaseException):
    """Nothing runs after it."""


def killed(*_, **__):
    raise KilledError


def test_who_is_killed_in_the_vote_need_not_test_and_export_again(world, monkeypatch):
    with monkeypatch.context() as patched, pytest.raises(KilledError):
        patched.setattr(Controller, "_vote", killed)
        world.fly(minutes=20)
    journal = Journal.open(world.workdir, {})
    journal.spent = 20 * 60 - 10
    outcome = world.fly(20, journal)
    assert (outcome.winner, outcome.no_vote) == ("c", "it was stopped before the vote") and outcome.score
    assert len(world.tested) == len(world.exported) == 1


@pytest.mark.parametrize("killed_in", ["evaluate_run", "export_run"])
def test_what_a_start_trained_that_was_killed_in_its_test_is_tested_by_the_next(world, monkeypatch, killed_in):
    before = world.fly(minutes=10)
    with monkeypatch.context() as patched, pytest.raises(KilledError):
        patched.setattr(module, killed_in, killed)
        world.fly(20, world.journal)
    journal = Journal.open(world.workdir, {})
    # It was saved after the training, when the time for another one had gone.
    journal.steps, journal.points, journal.spent = world.journal.steps, world.journal.points, 20 * 60 - 60
    outcome = world.fly(20, journal)
    assert outcome.version != before.version and outcome.score["split"] == "test"
    done = len(world.exported)
    assert world.fly(20.5, journal) == outcome and len(world.exported) == done


@pytest.mark.parametrize("fail", ["a", "c"])
def test_a_candidate_that_fails_stops_nobody_else(world, fail):
    world.fail = fail
    outcome = world.fly(minutes=20)
    assert outcome.winner == ("d" if fail == "c" else "c") and world.journal.left_out[fail] == "failed"


@pytest.mark.parametrize("fault", ["diverges", "refused"])
def test_who_cannot_be_tested_or_exported_makes_way_for_the_next(world, fault):
    setattr(world, fault, "cd")
    outcome = world.fly(minutes=20)
    assert outcome.winner == "f" and world.exported == [("f", "test")] and outcome.score["split"] == "test"
    assert all(world.journal.left_out[name].startswith("failed: ") for name in "cd")
    assert Journal.open(world.workdir, {}).left_out == world.journal.left_out
    # Further time is for the one that can.
    before = len(world.turns)
    world.fly(40, world.journal)
    assert {name for name, _ in world.turns[before:]} == {"f"}
    setattr(world, fault, "abcdef")
    with pytest.raises(UserError, match=r"could be tested and exported \(c failed: .*; d failed: .*more --minutes"):
        world.fly(60, world.journal)


def test_a_vote_that_diverges_is_left_out(world, monkeypatch):
    class Diverging:
        def __init__(self, models):
            assert len(models) == 3

        def evaluate(self, source, episodes):
            raise ArithmeticError("its parameters are not finite")

    monkeypatch.setattr(Controller, "_vote", _VOTE)
    monkeypatch.setattr(module, "Ensemble", Diverging)
    monkeypatch.setattr(module, "load", lambda path, checkpoint: path)
    outcome = world.fly(minutes=20)
    assert (outcome.winner, outcome.vote) == ("c", {}) and "one of them diverged" in outcome.no_vote


def test_nothing_to_export_is_told(world):
    world.accuracies, world.fail = {"a": 0.5}, "a"
    with pytest.raises(UserError, match="no candidate could be trained"):
        world.fly(minutes=20)
    world.journal, world.train = None, lambda candidate, seconds: world.signals.ask()
    with pytest.raises(Interrupted, match="before the first step"):
        world.fly(minutes=20)

"""Spends the minutes: who is trained for how long, when to stop, and what then happens to the best."""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import keras

from cml_tf.errors import Interrupted, UserError
from cml_tf.experiments.loading import load
from cml_tf.experiments.runs import evaluate_run
from cml_tf.models.ensemble import Ensemble
from cml_tf.system.files import write_text
from cml_tf.system.stages import duration
from cml_tf.training.evaluator import Diverged, compare
from export.autopilot.candidates import Candidate
from export.autopilot.journal import Budget, Journal
from export.autopilot.ladder import Ladder, affordable
from export.autopilot.signals import Signals
from export.autopilot.trying import Trials
from export.errors import ExportError
from export.exporter import Options, export_run

MODEL, SCORE = "model", "test.json"
# An export traces the answers a few times, and loads them in a fresh process: so many starts take as long.
_EXPORT_STARTS = 5.0
# The interval needs some episodes; beyond the most it hardly narrows.
_FEWEST_EPISODES, _MOST_EPISODES = 50, 600
_VOTERS, _VOTE_EPISODES = 3, 100
# The test's share of the time, and the vote's, at most.
_TEST_SHARE, _VOTE_SHARE = 0.15, 0.1
# What test, export and vote may take together, if they can do with it.
_RESERVED_SHARE = 0.5
# What ends the test or the export of one candidate and says nothing about the others.
_OWN_FAULTS = (Diverged, ExportError)


@dataclass(frozen=True)
class Outcome:
    """What became of it.

    Attributes:
      winner: the candidate that was exported.
      version: the directory of the export.
      checkpoint: which of its checkpoints.
      score: of the test, what `cml_tf.evaluate` prints; empty where it was interrupted before.
      vote: the accuracy of the vote of the best, and its paired difference to the winner; empty where there is none.
      no_vote: why there is none.
    """

    winner: str
    version: str
    checkpoint: str
    score: dict[str, Any]
    vote: dict[str, Any]
    no_vote: str = ""


class Controller:
    """Finds the best model that the time allows.

    Args:
      workdir: of the autopilot; gets the model and the score.
      tried: candidates, best guesses first.
      trials: that train them.
      journal: of what was done before, and is done now.
      budget: the time.
      signals: that end it.
      tell: is told what happens, line by line.
    """

    def __init__(
        self,
        workdir: Path,
        tried: list[Candidate],
        trials: Trials,
        journal: Journal,
        budget: Budget,
        signals: Signals,
        tell: Callable[[str], None],
    ) -> None:
        self._workdir = workdir
        self._tried = {candidate.name: candidate for candidate in tried}
        self._trials = trials
        self._journal = journal
        self._budget = budget
        self._signals = signals
        self._tell = tell
        self._too_short = ""

    def run(self) -> Outcome:
        """Trains, scores and exports.

        Raises:
          UserError: if the time is too short for a step, or no candidate could be trained, or none exported.
          Interrupted: if it was before there was anything to export.
        """
        if not self._journal.in_play:
            self._begin()
        self._climb()
        steps = sum(self._journal.steps.values())
        # Not what this start trained: one that was killed in its test or its export has left steps that nobody tested.
        if self._journal.result.get("score") and self._journal.result_steps == steps:
            self._tell("the time left is too short for another training: nothing has changed")
            return Outcome(**self._journal.result)
        ranked = [name for name in self._journal.ranked() if self._trials.checkpoint(name)]
        if not ranked:
            if self._signals.asked():
                raise Interrupted("stopped before the first step: run the same command again to begin.")
            told = "; ".join(f"{name} {why}" for name, why in self._journal.left_out.items())
            raise UserError(f"no candidate could be trained ({told}): set --image_size to a smaller number.")
        outcome = self._finish(ranked)
        self._keep(outcome)
        return outcome

    def _keep(self, outcome: Outcome) -> None:
        journal = self._journal
        journal.result, journal.result_steps = asdict(outcome), sum(journal.steps.values())
        if outcome.score:
            journal.finished = self._budget.seconds / 60
        journal.spent = self._budget.spent
        journal.save(self._workdir)

    def reserve(self) -> float:
        """Seconds that are kept for the test, the export and the vote, from what was measured so far.

        Where that is most of the time, tests are fewer and nobody votes.
        """
        test = self._journal.start(self._leader()) + self._test_episodes_seconds()
        return max(self.least(), min(test + self._after_test(), _RESERVED_SHARE * self._budget.seconds))

    def least(self) -> float:
        """Seconds without which there is no tested and exported model."""
        start = self._journal.start(self._leader())
        return start + _FEWEST_EPISODES * self._episode() + (self._journal.export or _EXPORT_STARTS * start)

    def _after_test(self) -> float:
        journal = self._journal
        export = journal.export or _EXPORT_STARTS * journal.start(self._leader())
        voters = [*journal.scores()] if journal.in_play else list(self._tried)
        voters += [name for name in journal.in_play if name not in voters]
        return export + min(_VOTE_SHARE * self._budget.seconds, self._vote_seconds(voters[:_VOTERS]))

    def _test_episodes_seconds(self) -> float:
        return min(_TEST_SHARE * self._budget.seconds, _MOST_EPISODES * self._episode())

    def _vote_seconds(self, voters: list[str]) -> float:
        """A vote of one needs no time."""
        if len(voters) < 2:
            return 0.0
        return sum(self._journal.start(name) + _VOTE_EPISODES * self._episode() for name in voters)

    def _leader(self) -> str:
        return next(iter(self._journal.ranked()), "")

    def _begin(self) -> None:
        """The first candidate's time begins before anybody knows how long that is: its first step tells."""
        waiting = list(self._tried)
        while waiting and not self._journal.in_play and not self._signals.asked():
            self._tell(f"{waiting[0]} begins, to see how long a start takes")
            could = self._trials.train(self._tried[waiting[0]], lambda: self._plan(waiting))
            if self._too_short and not self._signals.asked():
                raise UserError(self._too_short)
            if self._journal.in_play:
                self._ran(Ladder(self._journal.in_play), waiting[0], could)
            del waiting[0]

    def _plan(self, names: list[str]) -> float:
        """How many candidates can be tried, now that it is known how long a start takes; seconds for the first."""
        journal = self._journal
        left = self._budget.left - self.reserve()
        if left <= 0:
            needed = math.ceil((self._budget.spent + self.least() + journal.start()) / 60)
            self._too_short = (
                f"--minutes must be at least {needed} here, received {self._budget.seconds / 60:g}: the first step of "
                f"{names[0]} came {duration(journal.start())} after its start, and test and export need about "
                f"{duration(self.least())}. What was done is kept: run it again with more --minutes."
            )
            return 0.0
        count = affordable(len(names), left, journal.start())
        journal.in_play = names[:count]
        for name in names[count:]:
            journal.left_out[name] = f"no time: each start takes {duration(journal.start())}"
        # Again, since fewer candidates need less time afterwards.
        seconds = Ladder(journal.in_play).next(self._budget.left - self.reserve())[1]
        self._tell(f"{count} of {len(self._tried)} candidates fit {duration(left)}: {', '.join(journal.in_play)}")
        self._tell(f"{names[0]} trains for {duration(seconds)}")
        return seconds

    def _climb(self) -> None:
        ladder = Ladder(self._journal.in_play, self._journal.done)
        while ladder.in_play and not self._signals.asked():
            left, last = self._budget.left - self.reserve(), ladder.last_round
            name, seconds = ladder.next(left)
            if left < self._journal.start(name):
                break
            self._tell(f"{name} trains for {duration(seconds)}")
            until = self._budget.clock() + seconds
            could = self._trials.train(self._tried[name], functools.partial(self._before, until))
            self._ran(ladder, name, could)
            if last:
                break

    def _before(self, until: float) -> float:
        return until - self._budget.clock()

    def _ran(self, ladder: Ladder, name: str, could: bool) -> None:
        """Who was interrupted has not had its time."""
        if self._signals.asked():
            return
        journal, scores = self._journal, self._journal.scores()
        gone = ladder.ran(name, scores) if could else ladder.drop(name, scores)
        for other in gone:
            journal.left_out[other] = f"behind: {100 * scores.get(other, 0.0):.1f} % when the better half went on"
            self._tell(f"{other} is out, {journal.left_out[other]}")
        journal.in_play, journal.done = ladder.in_play, ladder.done
        journal.save(self._workdir)

    def _finish(self, ranked: list[str]) -> Outcome:
        """The best of those that can be tested and exported; the journal says why better ones could not."""
        journal = self._journal
        for place, winner in enumerate(ranked):
            checkpoint, score = self._trials.checkpoint(winner), {}
            try:
                if not self._signals.asked():
                    self._tell(f"{winner} is the best on validation classes; it is scored on test classes")
                    score = self._test(winner, checkpoint)
                self._tell(f"exporting {winner}")
                version = self._export(winner, checkpoint, scored=bool(score))
            except _OWN_FAULTS as error:
                journal.left_out[winner] = f"failed: {str(error).splitlines()[0]}"
                self._tell(f"{winner} {journal.left_out[winner]}")
                journal.spent = self._budget.spent
                journal.save(self._workdir)
                continue
            if place:
                # Further minutes are not for those that failed.
                journal.in_play = [name for name in journal.in_play if name not in ranked[:place]] or [winner]
            outcome = Outcome(winner, str(version), checkpoint, score, {}, "it was stopped before the vote")
            # A program that is killed while they vote need not test and export again.
            self._keep(outcome)
            vote, why = self._vote(ranked[place:][:_VOTERS], score)
            return replace(outcome, vote=vote, no_vote=why)
        told = "; ".join(f"{name} {journal.left_out[name].rstrip('.')}" for name in ranked)
        raise UserError(f"no candidate could be tested and exported ({told}): set more --minutes.")

    def _test(self, winner: str, checkpoint: str) -> dict[str, Any]:
        seconds = self._budget.left - self._after_test() - self._journal.start(winner)
        episodes = int(min(_MOST_EPISODES, max(_FEWEST_EPISODES, seconds / self._episode())))
        keras.backend.clear_session()
        found = evaluate_run(self._trials.directory(winner), "test", episodes, checkpoint=checkpoint)
        score = {**found.as_json(), "split": "test", "readout": "learner"}
        write_text(self._workdir / SCORE, json.dumps(score) + "\n")
        self._tell(f"{100 * found.mean:.1f} % ± {100 * found.ci95:.1f} % on {episodes} episodes of test classes")
        return score

    def _export(self, winner: str, checkpoint: str, scored: bool) -> Path:
        began = self._budget.clock()
        keras.backend.clear_session()
        options = Options(checkpoint=checkpoint, evaluation=self._workdir / SCORE if scored else None)
        version = export_run(self._trials.directory(winner), self._workdir / MODEL, options)
        self._journal.export = self._budget.clock() - began
        self._tell(f"exported to {version}, which answers as the library does")
        return version

    def _vote(self, names: list[str], score: dict[str, Any]) -> tuple[dict[str, Any], str]:
        names = [name for name in names if name in self._journal.scores()]
        needed = self._vote_seconds(names)
        if self._signals.asked() or len(names) < 2:
            return {}, "interrupted" if self._signals.asked() else "one candidate alone has a score"
        if needed > self._budget.left:
            return {}, f"no time: it needs about {duration(needed)}, {duration(max(0.0, self._budget.left))} were left"
        self._tell(f"scoring the vote of {', '.join(names)}")
        keras.backend.clear_session()
        ensemble = Ensemble([load(self._trials.directory(n), checkpoint=self._trials.checkpoint(n)) for n in names])
        source = self._trials.test_episodes(names[0])
        try:
            scored = ensemble.evaluate(source, min(_VOTE_EPISODES, score["episodes"]))
        except ArithmeticError:
            return {}, "the adaptation of one of them diverged"
        difference = compare(scored.ensemble, scored.members[0])
        told = {"mean": difference.mean, "ci95": difference.ci95}
        return {"of": names, **scored.ensemble.as_json(), "difference": told}, ""

    def _episode(self) -> float:
        """Seconds of a validation episode of the best so far; of the slowest, while there is none."""
        found = self._journal.episode
        best = next((name for name in self._journal.ranked() if name in found), None)
        return found[best] if best else max(found.values(), default=0.01)

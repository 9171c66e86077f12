"""What an autopilot has done so far, kept beside its runs: the same command goes on from there."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from cml_tf.errors import UserError
from cml_tf.system.files import parsed_json, write_json

FILE = "autopilot.json"


class Point(NamedTuple):
    """A candidate's accuracy on the validation episodes, which are the same for all.

    Attributes:
      candidate: its name.
      step: after how many outer steps.
      seconds: that it had been in training by then, its starts and validations with it.
      accuracy: in [0, 1].
    """

    candidate: str
    step: int
    seconds: float
    accuracy: float


@dataclass
class Journal:
    """The state of an autopilot.

    Attributes:
      settings: what was asked for, and the classes of each split; none of it may change.
      spent: seconds of all starts.
      starts: seconds from the beginning of a candidate's last training to its first step, by candidate.
      episode: shortest time of a validation episode by candidate, seconds.
      export: how long the last export took, seconds; 0 before there was one.
      in_play: candidates that may get more time, in their order; empty before the first step.
      done: those of them that have had their time in this round.
      left_out: why others did not go on, by candidate.
      trained: seconds by candidate.
      steps: outer steps by candidate.
      points: scores, in the order of time.
      result: of the test and the export, once there are any.
      result_steps: outer steps of all candidates when it came; -1 before, and in journals that did not note it.
      finished: how many minutes it was given when it came to a tested model; 0 before.
    """

    settings: dict[str, Any]
    spent: float = 0.0
    starts: dict[str, float] = field(default_factory=dict)
    episode: dict[str, float] = field(default_factory=dict)
    export: float = 0.0
    in_play: list[str] = field(default_factory=list)
    done: list[str] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)
    trained: dict[str, float] = field(default_factory=dict)
    steps: dict[str, int] = field(default_factory=dict)
    points: list[Point] = field(default_factory=list)
    result: dict[str, Any] = field(default_factory=dict)
    result_steps: int = -1
    finished: float = 0.0

    @classmethod
    def open(cls, workdir: Path, settings: Mapping[str, Any]) -> Journal:
        """The journal in a directory, or a new one.

        Raises:
          UserError: if it is of other settings, or damaged, or the directory holds something else.
        """
        path = workdir / FILE
        if not path.is_file():
            if workdir.exists() and (not workdir.is_dir() or any(workdir.iterdir())):
                raise UserError(f"{workdir} must be empty or hold an autopilot's work: choose another --workdir.")
            return cls(dict(settings))
        try:
            found = cls(**parsed_json(path.read_text(encoding="utf-8-sig")))
            found.points = [Point(*point) for point in found.points]
            changed = [key for key, value in settings.items() if found.settings.get(key) != value]
        except (OSError, ValueError, TypeError, AttributeError) as error:
            raise UserError(f"{path} cannot be read ({error}): restore it, or choose another --workdir.") from error
        if changed:
            told = "; ".join(f"{key}: {found.settings.get(key)!r} there, {settings[key]!r} now" for key in changed)
            raise UserError(f"{workdir} holds the work of other settings ({told}): choose another --workdir.")
        return found

    def save(self, workdir: Path) -> None:
        """Writes it."""
        write_json(workdir / FILE, asdict(self))

    def start(self, name: str = "") -> float:
        """How long a start of a candidate takes, seconds; as long as the longest, where that was not measured."""
        return self.starts.get(name, max(self.starts.values(), default=0.0))

    def scores(self) -> dict[str, float]:
        """The best accuracy of each candidate that has any."""
        found: dict[str, float] = {}
        for point in self.points:
            found[point.candidate] = max(point.accuracy, found.get(point.candidate, 0.0))
        return found

    def ranked(self) -> list[str]:
        """Candidates that have made a step, the best first; those without a score last, by their steps."""
        scores = self.scores()
        return sorted(self.steps, key=lambda name: (-scores.get(name, -1.0), -self.steps[name]))


class Budget:
    """How much of the time is spent.

    Args:
      minutes: in all.
      before: seconds that earlier starts took.
      clock: seconds that only grow.
    """

    def __init__(self, minutes: float, before: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.seconds = 60 * minutes
        self.clock = clock
        self._before = before
        self._began = clock()

    @property
    def spent(self) -> float:
        """Seconds, of earlier starts too."""
        return self._before + self.clock() - self._began

    @property
    def left(self) -> float:
        """Seconds; negative when the time is over."""
        return self.seconds - self.spent

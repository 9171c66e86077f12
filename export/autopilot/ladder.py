"""Successive halving by the clock: all candidates get a little time, the better half of them more, one the rest.

After Jamieson and Talwalkar 2016 (arXiv 1502.07943): all rounds take the same time, which a round's candidates share.
Nothing here reads a clock; who asks says how much time is left.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

# A candidate should train for at least twice as long as it takes to start.
_STARTS = 3.0


class Ladder:
    """Who is in play.

    Args:
      in_play: names of candidates, best guesses first.
      done: those of them that have had their time in this round.
    """

    def __init__(self, in_play: Sequence[str], done: Sequence[str] = ()) -> None:
        self.in_play = list(in_play)
        self.done = [name for name in done if name in self.in_play]

    @property
    def last_round(self) -> bool:
        """Whether one is left, who gets all the time there is."""
        return len(self.in_play) == 1

    def next(self, seconds: float) -> tuple[str, float]:
        """Whose turn it is, and for how long.

        Args:
          seconds: that are left for all rounds.
        """
        waiting = [name for name in self.in_play if name not in self.done]
        share = len(waiting) / len(self.in_play)
        a_round = seconds / (share + rounds(len(self.in_play)) - 1)
        return waiting[0], a_round / len(self.in_play)

    def ran(self, name: str, scores: Mapping[str, float]) -> list[str]:
        """A candidate has had its time; after the last of a round the worse half goes.

        Args:
          name: of the candidate.
          scores: of all in play so far, more is better; one without a score counts as the worst.

        Returns:
          Who goes.
        """
        self.done.append(name)
        return self._end_of_round(scores)

    def drop(self, name: str, scores: Mapping[str, float]) -> list[str]:
        """A candidate cannot go on; as `ran` otherwise."""
        self.in_play.remove(name)
        return self._end_of_round(scores)

    def _end_of_round(self, scores: Mapping[str, float]) -> list[str]:
        if not self.in_play or len(self.done) < len(self.in_play):
            return []
        ranked = sorted(self.in_play, key=lambda name: -scores.get(name, float("-inf")))
        kept = ranked[: -(-len(ranked) // 2)]
        gone, self.in_play = ranked[len(kept) :], [name for name in self.in_play if name in kept]
        self.done = []
        return gone


def rounds(candidates: int) -> int:
    """How many rounds halving takes until one candidate has had a round alone."""
    count = 1
    while candidates > 1:
        candidates, count = -(-candidates // 2), count + 1
    return count


def affordable(candidates: int, seconds: float, start: float) -> int:
    """How many candidates the time allows, at least one, so that none only starts.

    Args:
      candidates: how many there are.
      seconds: for all rounds.
      start: how long it takes from the beginning to the first step.
    """
    fitting = (count for count in range(candidates, 1, -1) if seconds / rounds(count) / count >= _STARTS * start)
    return next(fitting, 1)

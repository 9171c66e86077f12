"""Successive halving: shares of the time, who goes, how many can be tried."""

from __future__ import annotations

import pytest

from export.autopilot.ladder import Ladder, affordable, rounds


def climb(names, scores, seconds, cost=1.0):
    """Who got how much, when every turn takes its whole time."""
    ladder, turns, gone = Ladder(names), [], []
    while seconds > 1e-9:
        name, share = ladder.next(seconds)
        seconds -= share
        turns.append((name, round(share, 6)))
        gone += ladder.ran(name, scores)
    return turns, gone, ladder


def test_rounds_take_the_same_time_and_the_better_half_goes_on():
    turns, gone, ladder = climb(["a", "b", "c", "d"], {"a": 0.1, "b": 0.4, "c": 0.3, "d": 0.2}, 120)
    assert turns == [("a", 10), ("b", 10), ("c", 10), ("d", 10), ("b", 20), ("c", 20), ("b", 40)]
    assert gone == ["d", "a", "c"] and ladder.in_play == ["b"] and ladder.last_round


def test_time_that_a_turn_leaves_is_shared_by_all_to_come():
    ladder = Ladder(["a", "b"])
    assert ladder.next(80) == ("a", 20)
    ladder.ran("a", {})
    # It took half of its time only.
    assert ladder.next(70) == ("b", pytest.approx(70 / 1.5 / 2))


def test_equals_keep_their_order_and_one_without_a_score_is_the_worst():
    ladder = Ladder(["a", "b", "c"])
    for name in "abc":
        gone = ladder.ran(name, {"b": 0.5, "c": 0.5})
    assert gone == ["a"] and ladder.in_play == ["b", "c"]


def test_one_that_fails_is_dropped_and_may_end_a_round():
    ladder = Ladder(["a", "b", "c"], done=["a", "b"])
    assert ladder.next(60)[0] == "c"
    assert ladder.drop("c", {"a": 0.1, "b": 0.2}) == ["a"]
    assert ladder.in_play == ["b"] and ladder.done == []
    assert ladder.drop("b", {}) == [] and ladder.in_play == []


def test_a_ladder_goes_on_where_it_was():
    ladder = Ladder(["a", "b", "c"])
    ladder.ran("a", {})
    again = Ladder(ladder.in_play, ladder.done)
    assert again.next(100) == ladder.next(100) and again.next(100)[0] == "b"


def test_as_many_are_tried_as_can_do_more_than_start():
    assert [rounds(count) for count in (1, 2, 3, 4, 5, 8)] == [1, 2, 3, 3, 4, 4]
    # Two candidates: two rounds, a quarter of the time for each in the first.
    assert affordable(6, seconds=120, start=10) == 2 and affordable(6, seconds=119, start=10) == 1
    assert affordable(6, seconds=0, start=10) == 1 and affordable(6, seconds=10000, start=10) == 6

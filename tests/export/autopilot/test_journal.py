"""The journal survives, and refuses what is another's."""

from __future__ import annotations

import json

import pytest

from cml_tf.errors import UserError
from export.autopilot.journal import FILE, Budget, Journal, Point


def test_a_journal_comes_back_as_it_was(tmp_path):
    journal = Journal.open(tmp_path, {"data": "photos", "seed": 0})
    journal.points += [Point("a", 4, 1.5, 0.25), Point("b", 2, 1.0, 0.5), Point("a", 8, 3.0, 0.75)]
    journal.steps = {"c": 3, "b": 2, "a": 8, "d": 5}
    journal.in_play, journal.spent = ["a"], 12.0
    journal.save(tmp_path)
    assert Journal.open(tmp_path, {"seed": 0, "data": "photos"}) == journal
    assert journal.scores() == {"a": 0.75, "b": 0.5}
    assert journal.ranked() == ["a", "b", "d", "c"], "those without a score last"


def test_a_journal_of_before_comes_back_and_does_not_know_what_its_result_was_of(tmp_path):
    Journal({"seed": 0}, steps={"a": 8}, result={"winner": "a"}, result_steps=8, finished=10.0).save(tmp_path)
    kept = json.loads((tmp_path / FILE).read_text())
    del kept["result_steps"]
    (tmp_path / FILE).write_text(json.dumps(kept))
    found = Journal.open(tmp_path, {"seed": 0})
    assert (found.result, found.finished, found.result_steps) == ({"winner": "a"}, 10.0, -1)


def test_other_settings_damage_and_strangers_are_refused(tmp_path):
    Journal.open(tmp_path / "work", {"seed": 0}).save(tmp_path / "work")
    with pytest.raises(UserError, match="other settings .seed: 0 there, 1 now."):
        Journal.open(tmp_path / "work", {"seed": 1})
    for text in ("{", '{"unknown": 1}', "[]"):
        (tmp_path / "work" / FILE).write_text(text)
        with pytest.raises(UserError, match="cannot be read"):
            Journal.open(tmp_path / "work", {"seed": 0})
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").write_text("mine")
    with pytest.raises(UserError, match="must be empty"):
        Journal.open(tmp_path / "other", {})


def test_time_of_earlier_starts_counts():
    now = iter([100.0, 130.0, 130.0])
    budget = Budget(2.0, 60.0, lambda: next(now))
    assert budget.left == 120 - 60 - 30 and budget.spent == 90

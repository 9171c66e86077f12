"""A row that fails does not take the others with it."""

from __future__ import annotations

import json

import pytest
from absl import flags
from absl.testing import flagsaver
from rich.console import Console

from benchmarks.performance import run
from benchmarks.performance.contestant import ContestantError
from benchmarks.performance.results import Figure


def good(row: str) -> list[Figure]:
    return [Figure(row, "size", 1.0, "MiB")]


def ended(row: str) -> list[Figure]:
    raise ContestantError("it ended\nat once.")


def mistaken(row: str) -> list[Figure]:
    raise KeyError("peak")


ROWS = {"first": good, "ended": ended, "mistaken": mistaken, "last": good}


def test_other_rows_go_on(capsys):
    kept: list[list[str]] = []
    figures, faults = run.measured(ROWS, Console(), lambda figures: kept.append([f.row for f in figures]))
    assert [figure.row for figure in figures] == ["first", "last"]
    assert faults == ["row ended: it ended at once.", "row mistaken: KeyError: 'peak'"]
    assert kept == [["first"], ["first", "last"]]
    printed = capsys.readouterr()
    assert "failed: row ended: it ended at once." in printed.out
    # What nobody expected shows where it came from.
    assert "in mistaken" in printed.err and "in ended" not in printed.err


def test_the_program_writes_what_was_measured_and_exits_with_2(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(run, "ROWS", ROWS)
    monkeypatch.setattr(run, "COMMITTED", tmp_path / "absent.json")
    monkeypatch.setattr(run, "gemm_gflops", lambda dtype: 1.0)
    if not flags.FLAGS.is_parsed():
        flags.FLAGS.mark_as_parsed()
    with flagsaver.flagsaver(output=str(tmp_path / "out.json"), only=[]), pytest.raises(SystemExit) as ended_with:
        run.main([])
    assert ended_with.value.code == 2
    assert "2 of the rows failed: row ended" in capsys.readouterr().err
    written = json.loads((tmp_path / "out.json").read_text())
    assert [figure["row"] for figure in written["figures"]] == ["first", "last"]


def test_a_run_that_is_broken_off_leaves_the_rows_that_were_measured(tmp_path, monkeypatch):
    def interrupted(row: str) -> list[Figure]:
        raise KeyboardInterrupt

    monkeypatch.setattr(run, "ROWS", {"first": good, "second": interrupted})
    monkeypatch.setattr(run, "COMMITTED", tmp_path / "absent.json")
    monkeypatch.setattr(run, "gemm_gflops", lambda dtype: 1.0)
    if not flags.FLAGS.is_parsed():
        flags.FLAGS.mark_as_parsed()
    with flagsaver.flagsaver(output=str(tmp_path / "out.json"), only=[]), pytest.raises(KeyboardInterrupt):
        run.main([])
    assert [figure["row"] for figure in json.loads((tmp_path / "out.json").read_text())["figures"]] == ["first"]

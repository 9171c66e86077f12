"""A row that fails does not take the others with it."""

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


@pytest.fixture
def program(tmp_path, monkeypatch):
    """Runs the program with rows of its own to an exception; gives that, and the rows that were written."""

    def ran(rows, expected):
        for name, value in {"ROWS": rows, "COMMITTED": tmp_path / "absent", "gemm_gflops": lambda _: 1.0}.items():
            monkeypatch.setattr(run, name, value)
        if not flags.FLAGS.is_parsed():
            flags.FLAGS.mark_as_parsed()
        with flagsaver.flagsaver(output=str(tmp_path / "out.json"), only=[]), pytest.raises(expected) as caught:
            run.main([])
        written = json.loads((tmp_path / "out.json").read_text())
        return caught.value, [figure["row"] for figure in written["figures"]]

    return ran


def test_the_program_writes_what_was_measured_and_exits_with_2(program, capsys):
    error, written = program(ROWS, SystemExit)
    assert error.code == 2 and written == ["first", "last"]
    assert "2 of the rows failed: row ended" in capsys.readouterr().err


def test_a_run_that_is_broken_off_leaves_the_rows_that_were_measured(program):
    def interrupted(row: str) -> list[Figure]:
        raise KeyboardInterrupt

    assert program({"first": good, "second": interrupted}, KeyboardInterrupt)[1] == ["first"]

"""Processes that take turns, rows that fail alone, targets, the committed result, and its pictures."""

import json
import sys
from dataclasses import replace

import pytest
from absl import flags
from absl.testing import flagsaver
from rich.console import Console

from benchmarks.performance import run
from benchmarks.performance.contestant import (
    PEER_PYTHON,
    Contestant,
    ContestantError,
    ours,
    peer,
    running,
    spread,
    take_turns,
)
from benchmarks.performance.equality import check_equal
from benchmarks.performance.plots import details
from benchmarks.performance.results import COMMITTED, Figure, comparison, merged, read_result, result, table
from benchmarks.performance.work import CORA, SINE_WAVES, Work
from cml_tf.system.files import write_json
from tests.helpers.programs import run_programs

pytestmark = pytest.mark.slow

TOY = """
import json, sys
path, name = sys.argv[1:]
print(json.dumps({"ready": True, "first_seconds": 0.5}), flush=True)
for count, line in enumerate(sys.stdin, 1):
    if line == "end\\n":
        sys.exit(3)
    with open(path, "a") as file:
        file.write(name)
    print("this is no JSON" if line == "nonsense\\n" else json.dumps({"seconds": float(count)}), flush=True)
"""


def test_contestants_take_turns_and_one_that_does_not_answer_is_named(tmp_path):
    order = tmp_path / "order"
    toys = [Contestant(name, [sys.executable, "-c", TOY, str(order), name]) for name in "ab"]
    with running(toys[0]) as a, running(toys[1]) as b:
        assert take_turns({"a": a, "b": b}, 3, pause=0.0) == {"a": [1.0, 2.0, 3.0], "b": [1.0, 2.0, 3.0]}
        assert order.read_text() == "ababab" and a.first_seconds == 0.5
        for contestant, request, complaint in ((a, "nonsense", "a .*JSON"), (b, "end", "b .*code 3")):
            with pytest.raises(ContestantError, match=complaint):
                contestant.ask(request)
    assert spread([3.0, 1.0, 9.0]) == (3.0, 1.0, 9.0, 3)


@pytest.mark.slow
@pytest.mark.skipif(not PEER_PYTHON.is_file(), reason="build/peer-venv is absent: `make benchmark` makes it.")
@pytest.mark.parametrize(
    "work",
    [
        Work(size=28, channels=3, filters=4, tasks=2, steps=2),
        replace(SINE_WAVES, tasks=3),
        replace(CORA, nodes=60, edges=120, features=30, density=0.3, tasks=2, steps=2),
    ],
)
def test_the_peer_computes_the_same(work):
    with running(ours(work)) as mine, running(peer(work, "summed")) as all_, running(peer(work, "per_task")) as single:
        assert check_equal(mine, all_, single) < 1e-10


MACHINE = {"processor": "Fast 9000", "flags": [], "cores": 2, "packages": {}}
OTHER = {**MACHINE, "cores": 4}


def _figures(value: float) -> list[Figure]:
    return [Figure("speed", "times the peer", value, "x", "at least", 4.0), Figure("size", "peak", 9.0, "MiB")]


def _printed(new, old) -> str:
    console = Console(width=200)
    with console.capture() as capture:
        console.print(table(new, old))
    return capture.get()


def test_targets_and_the_comparison_with_the_committed_result(tmp_path):
    met = {bound: Figure("", "", 4.0, "", bound, 4.0).met for bound in ("at least", "at most", "under")}
    assert met == {"at least": True, "at most": True, "under": False}
    assert Figure("", "", 5.0, "", "at most", 4.0).met is False and Figure("", "", 5.0, "").met is None
    write_json(tmp_path / "r.json", result(MACHINE, _figures(5.0)))
    old, new = read_result(tmp_path / "r.json"), result(MACHINE, _figures(3.0))
    text = _printed(new, old)
    assert "MISSED" in text and "5 (-40%)" in text and "at least 4" in text
    assert comparison(new, old) == "then: the committed result."
    assert "cores: 2 then, 4 now" in comparison(result(OTHER, _figures(3.0)), old)
    assert read_result(tmp_path / "absent.json") is None
    assert "no committed result" in comparison(new, None) and "met" in _printed(old, None)
    # Rows that were not measured are kept from the same machine only.
    some = result(MACHINE, _figures(3.0)[:1])
    assert [(f["row"], f["value"]) for f in merged(some, old)["figures"]] == [("size", 9.0), ("speed", 3.0)]
    assert merged(some, result(OTHER, _figures(5.0))) == some


def test_the_committed_result_is_drawn(tmp_path):
    (done,) = run_programs([["benchmarks.performance.plots", f"--drawing={tmp_path / 'scaling.png'}"]])
    assert done.code == 0, done.err
    assert (tmp_path / "scaling.png").read_bytes().startswith(b"\x89PNG")
    series = details(json.loads(COMMITTED.read_text()))
    assert len(series) == 3 and details({"figures": []}) == {}
    for costs in series.values():
        assert all({"seconds", "peak"} <= set(cost) and int(count) > 0 for count, cost in costs.items())


def _good(row: str) -> list[Figure]:
    return [Figure(row, "size", 1.0, "MiB")]


def _raising(error: BaseException):
    def mistaken(row: str) -> list[Figure]:
        raise error

    return mistaken


ROWS = {
    "first": _good,
    "ended": _raising(ContestantError("it ended\nat once.")),
    "mistaken": _raising(KeyError("peak")),
    "last": _good,
}


def test_a_row_that_fails_does_not_take_the_others_with_it(capsys):
    kept: list[list[str]] = []
    figures, faults = run.measured(ROWS, Console(), lambda figures: kept.append([f.row for f in figures]))
    assert [figure.row for figure in figures] == ["first", "last"] and kept == [["first"], ["first", "last"]]
    assert faults == ["row ended: it ended at once.", "row mistaken: KeyError: 'peak'"]
    printed = capsys.readouterr()
    # What nobody expected shows where it came from.
    assert faults[0] in printed.out and printed.err.count("in mistaken") == 1


@pytest.mark.parametrize(
    ("rows", "error", "written"),
    [
        (ROWS, SystemExit, ["first", "last"]),
        ({"first": _good, "next": _raising(KeyboardInterrupt())}, KeyboardInterrupt, ["first"]),
    ],
)
def test_the_program_writes_what_was_measured_also_when_it_is_broken_off(
    tmp_path, monkeypatch, capsys, rows, error, written
):
    for name, value in {"ROWS": rows, "COMMITTED": tmp_path / "absent", "gemm_gflops": lambda _: 1.0}.items():
        monkeypatch.setattr(run, name, value)
    if not flags.FLAGS.is_parsed():
        flags.FLAGS.mark_as_parsed()
    with flagsaver.flagsaver(output=str(tmp_path / "out.json"), only=[]), pytest.raises(error) as caught:
        run.main([])
    assert [f["row"] for f in json.loads((tmp_path / "out.json").read_text())["figures"]] == written
    if error is SystemExit:
        assert caught.value.code == 2 and "2 of the rows failed: row ended" in capsys.readouterr().err

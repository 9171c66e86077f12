"""Targets and the comparison with the committed result."""

from rich.console import Console

from benchmarks.performance.results import Figure, comparison, merged, read_result, result, table
from cml_tf.system.files import write_json

MACHINE = {"processor": "Fast 9000", "flags": [], "cores": 2, "packages": {}}
OTHER = {**MACHINE, "cores": 4}


def figures(value: float) -> list[Figure]:
    return [Figure("speed", "times the peer", value, "x", "at least", 4.0), Figure("size", "peak", 9.0, "MiB")]


def printed(new, old) -> str:
    console = Console(width=200)
    with console.capture() as capture:
        console.print(table(new, old))
    return capture.get()


def test_targets():
    met = {bound: Figure("", "", 4.0, "", bound, 4.0).met for bound in ("at least", "at most", "under")}
    assert met == {"at least": True, "at most": True, "under": False}
    assert Figure("", "", 5.0, "", "at most", 4.0).met is False
    assert Figure("", "", 5.0, "").met is None


def test_a_run_is_set_beside_the_committed_one(tmp_path):
    write_json(tmp_path / "r.json", result(MACHINE, figures(5.0)))
    old, new = read_result(tmp_path / "r.json"), result(MACHINE, figures(3.0))
    text = printed(new, old)
    assert "MISSED" in text and "5 (-40%)" in text and "at least 4" in text
    assert comparison(new, old) == "then: the committed result."


def test_another_machine_is_named():
    told = comparison(result(OTHER, figures(3.0)), result(MACHINE, figures(3.0)))
    assert told == "The committed result is from another machine: cores: 2 then, 4 now."


def test_without_a_committed_result(tmp_path):
    assert read_result(tmp_path / "absent.json") is None
    assert "no committed result" in comparison(result(MACHINE, []), None)
    assert "met" in printed(result(MACHINE, figures(5.0)), None)


def test_rows_that_were_not_measured_are_kept_from_the_same_machine_only():
    old, new = result(MACHINE, figures(5.0)), result(MACHINE, figures(3.0)[:1])
    assert [(f["row"], f["value"]) for f in merged(new, old)["figures"]] == [("size", 9.0), ("speed", 3.0)]
    assert merged(new, result(OTHER, figures(5.0))) == new

"""`python -m cml_tf.report`: tables on stdout, a page, and one line for every mistake."""

from __future__ import annotations

import pytest

from cml_tf.studies.results import write_results
from tests.helpers.programs import run_programs
from tests.helpers.sweep_results import RESULTS

MISTAKES = {
    "missing": (["--results={}/none.jsonl"], "there is no file"),
    "empty": (["--results={}/empty.jsonl"], "no results found in"),
    "damaged": (["--results={}/damaged.jsonl"], "line 1 must be the JSON object of a run"),
    "twice": (["--results={}/good.jsonl", "--results={}/good.jsonl"], "and in another file: report these"),
    "against_none": (["--results={}/good.jsonl", "--against=SGD"], "must be one of MAML, CML; received 'SGD'"),
    "no_output": (["--results={}/good.jsonl", "--workdir={}"], "pass --output=FOLDER"),
    "no_workdir": (
        ["--results={}/good.jsonl", "--output={}/page", "--workdir={}/none"],
        "does not exist: check its path",
    ),
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The folder, and every call's end by name."""
    folder = tmp_path_factory.mktemp("report")
    write_results(folder / "good.jsonl", {run["run"]: run for run in RESULTS})
    (folder / "empty.jsonl").write_text("")
    (folder / "damaged.jsonl").write_text("{}\n")
    calls = {name: flags for name, (flags, _) in MISTAKES.items()}
    calls["good"] = ["--results={}/good.jsonl", "--output={}/page", "--workdir={}"]
    calls["against"] = ["--results={}/good.jsonl", "--output={}/beside", "--against=CML"]
    filled = [["cml_tf.report", *(flag.format(folder) for flag in flags)] for flags in calls.values()]
    return folder, dict(zip(calls, run_programs(filled), strict=True))


def test_tables_are_printed_and_the_page_is_written(finished):
    folder, ends = finished
    assert ends["good"].code == 0, ends["good"].err
    lines = ends["good"].out.splitlines()
    assert lines[0] == "## cora_2way_1shot" and lines[4].startswith("| MAML | 3 | 56.67 ±")
    assert any(line.startswith("| cora_2way_1shot | maml | 3 |") for line in lines)
    assert "Results in the paper" in (folder / "page/report.html").read_text()
    lines = ends["against"].out.splitlines()
    assert "minus CML, ± over seeds" in lines[2] and lines[5].startswith("| CML | 3 |") and lines[5].endswith("|  |  |")
    assert "Every method is compared with CML, scored" in (folder / "beside/report.html").read_text()


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_are_told_in_one_line(finished, name):
    end = finished[1][name]
    assert end.code == 2 and len(end.messages) == 1, end
    assert MISTAKES[name][1] in end.messages[0]

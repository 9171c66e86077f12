"""The program that compares an ensemble with its members: seeds are not repeated, tables pair what was scored."""

from __future__ import annotations

import json

import pytest

from examples.ensemble.comparison import SIZES, table
from tests.helpers.programs import run_programs


def line(seed, ensemble, *members):
    scored = [
        {"size": size, "validation": validation, "scores": scores}
        for size, (validation, scores) in zip(SIZES, members, strict=True)
    ]
    return {"seed": seed, "combiner": "vote", "ensemble": {"scores": ensemble}, "members": scored}


def test_a_table_compares_the_ensemble_with_each_member_and_with_the_chosen_one():
    first = line(0, [0.8, 1.0], (0.6, [0.7, 0.9]), (0.9, [0.6, 0.6]), (0.5, [0.8, 1.0]), (0.1, [0.2, 0.2]))
    told = table([first])
    assert "| ensemble | 90.00 | |" in told and "| 16 filters, 4 blocks | 80.00 | +10.00 |" in told
    assert "| the member that is best in validation | 60.00 | +30.00 |" in told
    assert "| the member that is best in the test | 90.00 | +0.00 |" in told
    assert "| ensemble | 90.00 ± 0.00 | |" in table([first, {**first, "seed": 1}])


def test_a_method_that_no_run_has_is_refused_in_a_line(tmp_path):
    flags = ["--method=typo", f"--workdir={tmp_path}/runs", f"--results={tmp_path}/r.jsonl"]
    (done,) = run_programs([["examples.ensemble.train", *flags]])
    names = "glyphs_5way_1shot_maml-soft_k_means, glyphs_5way_1shot_maml-meta_delta-no_rotation"
    told = f"error: --method must be the end, behind a '_', of one of {names}, received 'typo'."
    assert (done.code, done.messages) == (2, [told]) and not list(tmp_path.iterdir())


@pytest.mark.slow
def test_seeds_are_trained_once(tmp_path):
    configs = ["configs/glyphs.py:maml,meta_delta,no_rotation,3way,1shot,smoke"]
    (tmp_path / "s.json").write_text(json.dumps({"configs": configs, "seeds": [0]}))
    flags = [f"--spec={tmp_path}/s.json", "--method=maml-meta_delta-no_rotation-smoke", f"--workdir={tmp_path}/runs"]
    flags += [f"--results={tmp_path}/r.jsonl", "--fit_episodes=4", "--episodes=2"]
    first, second = run_programs([["examples.ensemble.train", *flags]] * 2)
    assert first.code == 0 and "filters': 32" in first.out, first.err
    found = json.loads((tmp_path / "r.jsonl").read_text())
    assert len(found["members"]) == len(SIZES) and len(found["ensemble"]["scores"]) == 2
    assert second.code == 0 and "filters': 32" not in second.out and second.out.startswith("| who answers")


def test_runs_of_other_options_are_refused(tmp_path):
    results = tmp_path / "r.jsonl"
    results.write_text(json.dumps({"seed": 0, "asked": {"rounds": 3}}) + "\n")
    flags = [f"--workdir={tmp_path}/runs", f"--results={results}"]
    (done,) = run_programs([["examples.ensemble.train", *flags]])
    assert done.code == 2 and "found seed 0 in" in done.messages[0] and "--rounds=3" in done.messages[0]

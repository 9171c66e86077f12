"""Sweeps: read from a file, worked off run by run, continued where they stopped."""

from __future__ import annotations

import json
from subprocess import CompletedProcess

import numpy as np
import pytest
from absl import flags

from cml_tf.experiments.configuration import ConfigurationError
from cml_tf.studies.results import changed_keys, is_done, read_results, result_of, scored_as, write_results
from cml_tf.studies.sweeps import FurtherEvaluation, SweepError, read_sweep
from cml_tf.system.files import locked
from cml_tf.training.evaluator import Evaluation
from tests.helpers.forked_programs import called
from tests.helpers.programs import ROOT, run_program, run_programs

SOURCE = "configs/sinusoid.py:cml,5shot,smoke"


def spec(path, **changes):
    path.write_text(json.dumps({"configs": [SOURCE], "seeds": [0, 1], **changes}))
    return path


@pytest.fixture(autouse=True)
def in_the_project(monkeypatch):
    monkeypatch.chdir(ROOT)


def test_runs_are_configurations_times_seeds_and_have_the_evaluations_that_they_can(tmp_path):
    asked = {"dagger": {"readout": "co_learner"}, "before": {"steps": 0}, "seen": {"split": "train"}}
    asked["alone"] = {"single_queries": True}
    overrides = {"train.steps": 2, "learner.hidden": [4]}
    configs = [SOURCE, SOURCE.replace("cml", "maml")]
    cml, second, maml, _ = read_sweep(
        spec(tmp_path / "s.json", configs=configs, evaluations=asked, overrides=overrides)
    )
    assert [run.name for run in (cml, second)] == [f"sinusoid_5shot_cml-smoke-seed{seed}" for seed in (0, 1)]
    config = second.config
    assert (config.seed, config.eval.seed, config.train.steps, config.learner.hidden) == (1, 1, 2, (4,))
    assert cml.evaluations == {
        "dagger": FurtherEvaluation("co_learner"),
        "before": FurtherEvaluation(steps=0),
        "seen": FurtherEvaluation(split="train"),
        "alone": FurtherEvaluation(single_queries=True),
    }
    assert list(maml.evaluations) == ["before", "seen", "alone"]
    stepless = SOURCE.replace("cml", "maml,kernel_ridge")
    only = read_sweep(spec(tmp_path / "k.json", configs=[stepless], evaluations=asked, overrides={"train.steps": 2}))
    assert [list(run.evaluations) for run in only] == [["seen", "alone"]] * 2, (
        "nothing takes steps, and there is no co-learner"
    )
    refined = ["configs/glyphs.py:maml,soft_k_means,smoke"]
    changes = {"configs": refined, "seeds": [0], "evaluations": asked}
    (found,) = read_sweep(spec(tmp_path / "r.json", **changes))
    assert list(found.evaluations) == ["before", "seen"], "refinements are steps"
    sizes = {"2": {"ways": 2}, "5": {"ways": 5}, "20": {"ways": 20}, "21": {"ways": 21}}
    configs = [f"configs/glyphs.py:maml,5way,smoke{words}" for words in ("", ",soft_k_means", ",proto_maml,any_size")]
    runs = read_sweep(spec(tmp_path / "w.json", configs=configs, seeds=[0], evaluations=sizes))
    assert [list(run.evaluations) for run in runs] == [["5"], ["2", "5"], ["2", "5", "20"]], "what a model has room for"


def test_an_override_holds_for_the_runs_that_have_its_key(tmp_path):
    configs = [f"configs/glyphs.py:maml,smoke{word}" for word in ("", ",implicit", ",gradient_flow")]
    overrides = {"adaptation.steps": 5, "hypergradient.proximity": 2.0, "adaptation.horizon": 0.5, "train.steps": 7}
    runs = read_sweep(spec(tmp_path / "s.json", configs=configs, seeds=[0], overrides=overrides))
    plain, implicit, flow = (run.config for run in runs)
    assert (plain.adaptation.steps, implicit.adaptation.steps, implicit.hypergradient.proximity) == (5, 5, 2.0)
    assert flow.adaptation.horizon == 0.5 and "steps" not in flow.adaptation and "proximity" not in plain.hypergradient
    assert [config.train.steps for config in (plain, implicit, flow)] == [7, 7, 7]


SHIPPED = sorted(path.stem for path in (ROOT / "configs" / "sweeps").glob("*.json"))
# Sweeps whose results stand in another's file.
TOGETHER = {
    "a_maml_alpine_adjoint": "a_maml_alpine",
    "nodes_first_order": "nodes",
    "omniglot_small_maml_plus_plus": "omniglot_small",
    "omniglot_small_anew_others": "omniglot_small_anew",
    "omniglot_small_anew_maml_plus_plus": "omniglot_small_anew",
}


# Sweeps that are under way, some with the results of their first runs; whoever commits the last takes the name out.
WAITING = {
    *("omniglot_small_anew", "omniglot_small_anew_others", "omniglot_small_anew_maml_plus_plus"),
    "omniglot_small_long",
}


def test_shipped_sweeps_find_their_committed_results_as_done_and_every_result_is_some_sweeps():
    names, there = set(), {path.stem: read_results(path) for path in (ROOT / "docs/results").glob("*.jsonl")}
    for name in SHIPPED:
        results, runs = there.get(TOGETHER.get(name, name), {}), read_sweep(ROOT / f"configs/sweeps/{name}.json")
        for run in runs:
            names.add(run.name)
            if run.name in results or name not in WAITING:
                assert is_done(results.get(run.name), run) and not changed_keys(results[run.name], run), run.name
        assert name not in WAITING or any(run.name not in results for run in runs), f"{name} waits for nothing"
    # Trained by hand: there is no sweep of these.
    by_hand = ("omniglot_small_again",)
    for name, results in there.items():
        assert name in by_hand or results.keys() <= names, name


NO_CONFIG = "from ml_collections import ConfigDict\nget_config = lambda arguments: ConfigDict({'rate': 0.1})\n"
REFUSED = [
    ({"configs": []}, r"configs .*received \[\]"),
    ({"seed_keys": ["eval.seed"]}, "seed_keys must contain 'seed'"),
    ({"epochs": 3}, "keys configs, seeds.*received 'epochs'"),
    ({"configs": [SOURCE, SOURCE]}, "received sinusoid_5shot_cml-smoke-seed0 several times"),
    # A run is one however its arguments are written.
    (
        {"configs": ["configs/cora.py", "configs/cora.py:1shot,cml"]},
        r"cora_2way_1shot_\w+-seed0 several times",
    ),
    (
        {"configs": ["configs/glyphs.py:cml,boil,first_order", "configs/glyphs.py:cml,first_order,boil"]},
        "received configs/glyphs.py:cml,boil,first_order and configs/glyphs.py:cml,first_order,boil, which are",
    ),
    ({"configs": ["configs/missing.py"]}, "does not exist"),
    ({"configs": ["{}/mine.py"]}, "mine.py"),
    (
        {"evaluations": {"a": {"head": 1}}},
        "readout, steps, split, dataset, single_queries, ways and shots, received {'head': 1}",
    ),
    ({"evaluations": {"": {"steps": 5}}}, "each evaluation .*received ''"),
    ({"evaluations": {"a": {"readout": ["phi"]}}}, r"readout of evaluation 'a' .* received \['phi'\]"),
    ({"evaluations": {"a": {"ways": 1}}}, "ways of evaluation 'a' must be 2 or more, received 1"),
    ({"evaluations": {"a": {"ways": 2}}}, "ways is for classifications, received evaluation 'a' .* a regression"),
    ({"evaluations": {"a": {"split": "seen"}}}, "split of evaluation 'a' .* test, received 'seen'"),
    ({"evaluations": {"a": {"dataset": "cora"}}}, "dataset of evaluation 'a' .* sinusoid, .* received 'cora'"),
    ({"evaluations": {"a": {"single_queries": 1}}}, "single_queries of evaluation 'a' .* received 1"),
    ({"overrides": {"train.epochs": 3}}, "overrides must be keys .* has, received 'train.epochs'"),
    ({"overrides": {"train.steps": "many"}}, "steps"),
    ({"overrides": {"eval.seed": 100}}, "overrides must not have 'eval.seed', which seed_keys sets"),
    ({"seed_keys": ["seed", "dataset.class_seed"]}, "class_seed"),
    ("{", "cannot be read"),
]


@pytest.mark.parametrize(("contents", "message"), REFUSED)
def test_specs_that_cannot_be_run_are_refused(tmp_path, contents, message):
    (tmp_path / "mine.py").write_text(NO_CONFIG)
    path = tmp_path / "s.json"
    if isinstance(contents, str):
        path.write_text(contents)
    else:
        spec(path, **contents)
        path.write_text(path.read_text().replace("{}", str(tmp_path)))
    with pytest.raises((SweepError, ConfigurationError), match=message):
        read_sweep(path)


def scored(**more):
    return {"metric": "mse", "mean": 0.5, "scores": [0.25, 0.75], "episodes": 2, "manifest_hash": "a", **more}


def line(run, **more):
    own = {"run": run.name, "source": run.source, "seed": run.seed, "steps": 4, "evaluations": {}}
    own["config"] = run.config.to_dict()
    return json.loads(json.dumps(scored(**{**own, **more})))


def test_a_run_is_done_when_its_configuration_and_all_evaluations_are_those_that_are_asked_for_now(tmp_path):
    first, second = read_sweep(spec(tmp_path / "s.json"))
    write_results(tmp_path / "r.jsonl", {first.name: line(first)})
    result = read_results(tmp_path / "r.jsonl")[first.name]
    assert not changed_keys(result, first) and changed_keys(result, second) == ["eval.seed", "seed"]
    result["config"]["dataset"]["root"] = "elsewhere"
    del result["config"]["train"]["epsilon"]
    assert not changed_keys(result, first), "written on another machine, before there was that key"

    def asked(**evaluations):
        return read_sweep(spec(tmp_path / "s.json", seeds=[0], evaluations=evaluations))[0]

    before = {"readout": "learner", "steps": 0}
    result = line(asked(), evaluations={"before": scored(asked=before)})
    assert not is_done(None, asked())
    assert is_done(result, asked()) and is_done(result, asked(before={"steps": 0}))
    assert not is_done(result, asked(before={"steps": 1})), "and lines of before there was a split are read"
    assert not is_done(result, asked(before={"steps": 0, "split": "train"}))
    assert not is_done(result, asked(before={"steps": 0, "dataset": "shifted_sinusoid"}))
    assert not is_done(result, asked(before={"steps": 0}, after={"steps": 1}))
    result["evaluations"]["before"] = {"asked": before, "diverged": "all is infinite"}
    assert is_done(result, asked(before={"steps": 0})), "it would diverge again"


@pytest.mark.slow
def test_two_sweeps_do_not_write_one_file(tmp_path):
    results = tmp_path / "results.jsonl"
    flags = [f"--spec={spec(tmp_path / 's.json')}", f"--workdir={tmp_path / 'runs'}", f"--results={results}"]
    with locked(results):
        (finished,) = run_programs([["cml_tf.sweep", *flags]])
    assert finished.code == 2 and not (tmp_path / "runs").exists()
    assert finished.messages == [
        f"error: another sweep is writing {results}: wait until it ends, or choose another file with --results."
    ]


def _sweep_where_no_process_starts(arguments):
    import cml_tf.sweep  # Its flags would stay in this process.

    def fails(*_):
        raise BlockingIOError("no process starts")

    cml_tf.sweep._run_all = fails
    flags.FLAGS(arguments)
    try:
        cml_tf.sweep.main([])
    except (BlockingIOError, SystemExit) as error:
        return str(error)


def test_a_process_that_cannot_be_started_is_no_other_sweep(tmp_path):
    words = [f"--spec={spec(tmp_path / 's.json')}", f"--workdir={tmp_path}", f"--results={tmp_path / 'r.jsonl'}"]
    assert called(_sweep_where_no_process_starts, ["sweep", *words]) == "no process starts"


# What is written in place of the second line: a text, or changes to the first.
DAMAGED = {
    "Expecting": '{"run"',
    "must be an object": "[1]",
    "source, seed, steps, config": '{"run": "a"}',
    "score per episode": {"scores": [0.5]},
    "at least two": {"scores": ["x", 0.5]},
    "its machine is missing or invalid": {"machine": {"processor": "Z80"}},
    "evaluation 'a' has missing or invalid fields: metric": {"evaluations": {"a": {}}},
    "twice": {},
}


def test_damaged_lines_and_what_is_no_file_of_results_are_named(tmp_path):
    good, path = line(read_sweep(spec(tmp_path / "s.json"))[0]), tmp_path / "r.jsonl"
    for message, second in DAMAGED.items():
        lines = [json.dumps(good), second if isinstance(second, str) else json.dumps({**good, **second})]
        path.write_text("\n".join(lines))
        with pytest.raises(SweepError, match=f"line 2.*{message}"):
            read_results(path)
    path.write_bytes(b"\xff\xfe{}")
    for no_file in (path, tmp_path):
        with pytest.raises(SweepError, match="cannot be read"):
            read_results(no_file)


ENDED = {
    "a result": (0, 'told\n{"run": "a", "refused": {}}\n', {"run": "a"}, ""),
    "without an evaluation": (
        0,
        '{"run": "a", "refused": {"x": "too few", "y": "none"}}',
        {"run": "a"},
        "'x': too few; ",
    ),
    "an error": (2, "", None, "exit code 2: error: two"),
    "a print behind its result": (0, '{"run": "a", "refused": {}}\nbye', None, "must be its result, received 'bye'"),
    "a number behind its result": (0, "7", None, "must be its result, received '7'"),
    "nothing": (0, "", None, "must be its result, received ''"),
}


@pytest.mark.parametrize(("code", "out", "result", "told"), ENDED.values(), ids=ENDED)
def test_what_a_process_of_a_run_hands_over(code, out, result, told):
    """Whatever it is, other runs go on."""
    found, reason = result_of(CompletedProcess([], code, out, "error: one\nerror: two\n"))
    assert found == result and told in reason and bool(told) == bool(reason)


def test_scores_in_a_line_keep_the_digits_of_tiny_errors():
    scores = np.float32([3.1234567e-7, 1.5e-7])
    assert scored_as(Evaluation("mse", scores, 0, "a" * 64, {}))["scores"] == [3.123457e-7, 1.5e-7]


@pytest.mark.slow
@pytest.mark.long
def test_the_program_goes_on_where_it_stopped_and_reports(tmp_path):
    def swept(*more, **changes):
        spec(tmp_path / "s.json", configs=[SOURCE, SOURCE.replace("cml", "maml")], **changes)
        flags = [f"--spec={tmp_path}/s.json", f"--workdir={tmp_path}/runs", f"--results={tmp_path}/r.jsonl"]
        return run_program("cml_tf.sweep", *flags, *more)

    before, name = {"before": {"steps": 0}, "seen": {"split": "train"}}, "sinusoid_5shot_cml-smoke-seed0"
    result = swept(f"--run={name}", evaluations=before).last_json
    assert result["evaluations"]["seen"]["manifest_hash"] != result["manifest_hash"]
    assert result["config"]["seed"] == 0 and len(result["scores"]) == result["episodes"] == 4
    scored = result["evaluations"]["before"]
    assert scored["manifest_hash"] == result["manifest_hash"] and scored["scores"] != result["scores"]
    write_results(tmp_path / "r.jsonl", {result["run"]: result})
    for changes, told in (
        ({"evaluations": before}, "1 results found, 3 runs left"),
        ({"evaluations": before}, "4 results found, 0 runs left"),
        ({"evaluations": {**before, "dagger": {"readout": "co_learner"}}, "seeds": [0]}, "found, 1 runs left"),
    ):
        done = swept("--processes=2", **changes)
        assert done.code == 0 and told in done.out, done
    again = read_results(tmp_path / "r.jsonl")[name]
    assert set(again["evaluations"]) == {"before", "dagger", "seen"} and again["scores"] == result["scores"]
    assert again["train_seconds"] >= result["train_seconds"], "it was scored again, not trained"
    shown = [f"--results={tmp_path}/r.jsonl", f"--workdir={tmp_path}/runs", f"--output={tmp_path}/page"]
    report = run_program("cml_tf.report", *shown)
    assert report.code == 0 and "| sinusoid_5shot | smoke | 2 |" in report.out, report.err
    page = (tmp_path / "page/report.html").read_text()
    for picture in ("sinusoid_5shot_curves.png", "sinusoid_5shot_maml-smoke-seed0_episode.png"):
        assert picture in page and (tmp_path / "page" / picture).stat().st_size > 10_000
    # A model of waves has no second number to read: what was trained keeps its line, and the evaluation is asked again.
    surfaces = {**before, "surfaces": {"dataset": "cosmixture"}}
    for _ in range(2):
        failed = swept(evaluations=surfaces, seeds=[0, 1])
        assert failed.code == 2 and "4 results found, 4 runs left" in failed.out
        assert "4 of 4 runs failed, first" in failed.err and "evaluation 'surfaces': " in failed.err
    assert read_results(tmp_path / "r.jsonl")[name]["evaluations"].keys() == {*before}
    refused = swept(evaluations=before, overrides={"train.rate": 0.5})
    assert refused.code == 2 and "seed0, which differs in train.rate" in refused.err

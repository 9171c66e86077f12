"""Sweeps: read from a file, worked off run by run, continued where they stopped."""

from __future__ import annotations

import json

import pytest

from cml_tf.experiments.configuration import ConfigurationError
from cml_tf.studies.results import changed_keys, is_done, read_results, write_results
from cml_tf.studies.sweeps import FurtherEvaluation, SweepError, read_sweep
from cml_tf.system.files import locked
from tests.helpers.programs import ROOT, run_program, run_programs

SOURCE = "configs/sinusoid.py:cml,5shot,smoke"


def spec(path, **changes):
    path.write_text(json.dumps({"configs": [SOURCE], "seeds": [0, 1], **changes}))
    return path


@pytest.fixture(autouse=True)
def in_the_project(monkeypatch):
    monkeypatch.chdir(ROOT)


def test_runs_are_configurations_times_seeds_and_overrides_are_in_no_name(tmp_path):
    runs = read_sweep(spec(tmp_path / "s.json", overrides={"train.steps": 2, "learner.hidden": [4]}))
    assert [run.name for run in runs] == ["sinusoid_5shot_cml-smoke-seed0", "sinusoid_5shot_cml-smoke-seed1"]
    second = runs[1].config
    assert (second.seed, second.eval.seed, second.train.steps, second.learner.hidden) == (1, 1, 2, (4,))


def test_evaluations_of_a_co_learner_are_for_runs_that_have_one(tmp_path):
    asked = {"dagger": {"readout": "co_learner"}, "before": {"steps": 0}}
    path = spec(tmp_path / "s.json", configs=[SOURCE, SOURCE.replace("cml", "maml")], evaluations=asked)
    cml, _, maml, _ = read_sweep(path)
    assert cml.evaluations == {"dagger": FurtherEvaluation("co_learner"), "before": FurtherEvaluation(steps=0)}
    assert list(maml.evaluations) == ["before"]


SHIPPED = sorted(path.stem for path in (ROOT / "configs" / "sweeps").glob("*.json"))
# Sweeps whose results stand in another's file.
TOGETHER = {"nodes_first_order": "nodes", "omniglot_small_maml_plus_plus": "omniglot_small"}


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_sweep_finds_its_committed_results_as_done(name):
    results = read_results(ROOT / f"docs/results/{TOGETHER.get(name, name)}.jsonl")
    runs = read_sweep(ROOT / f"configs/sweeps/{name}.json")
    assert [run.name for run in runs if not is_done(results.get(run.name), run)] == []
    assert {run.name: changed for run in runs if (changed := changed_keys(results[run.name], run))} == {}


def test_every_committed_result_is_some_sweeps():
    names = {run.name for name in SHIPPED for run in read_sweep(ROOT / f"configs/sweeps/{name}.json")}
    # Trained by hand: there is no sweep of these.
    by_hand = ("omniglot_small_again",)
    for path in (ROOT / "docs/results").glob("*.jsonl"):
        assert path.stem in by_hand or read_results(path).keys() <= names


def test_a_run_is_one_however_its_arguments_are_written(tmp_path):
    for alike in (["configs/cora.py", "configs/cora.py:1shot,cml"], ["configs/cora.py:maml,anil"] * 2):
        with pytest.raises(SweepError, match=r"received cora_2way_1shot_\w+(-anil)?-seed0 several times"):
            read_sweep(spec(tmp_path / "s.json", configs=alike))


BAD_SPECS = {
    "configs must be a list of at least one configuration file, received \\[\\]": {"configs": []},
    "configs must be a list of at least one configuration file, received 'a.py'": {"configs": "a.py"},
    "configs must be a list of at least one configuration file, received \\[1\\]": {"configs": [1]},
    "seeds must be a list of at least one integer": {"seeds": [0, "1"]},
    "seed_keys must be a list of configuration keys": {"seed_keys": [None]},
    "seed_keys must contain 'seed'": {"seeds": [0, 1], "seed_keys": ["eval.seed"]},
    "must only have the keys configs, seeds": {"epochs": 3},
    "received sinusoid_5shot_cml-smoke-seed0 several times": {"configs": [SOURCE, SOURCE]},
    "does not exist: give its path relative to": {"configs": ["configs/missing.py"]},
    "must only have readout and steps, received {'head': 1}": {"evaluations": {"a": {"head": 1}}},
    "must only have readout and steps, received 3": {"evaluations": {"a": 3}},
    "each evaluation must have a name, received ''": {"evaluations": {"": {"steps": 5}}},
    "readout of evaluation 'a' must be one of .* received 'phi'": {"evaluations": {"a": {"readout": "phi"}}},
    "readout of evaluation 'a' must be one of .* received \\['phi'\\]": {"evaluations": {"a": {"readout": ["phi"]}}},
    "steps of evaluation 'a' must be 0 or more": {"evaluations": {"a": {"steps": -1}}},
}


@pytest.mark.parametrize("message", BAD_SPECS)
def test_specs_that_cannot_be_run_are_refused(tmp_path, message):
    with pytest.raises((SweepError, ConfigurationError), match=message):
        read_sweep(spec(tmp_path / "s.json", **BAD_SPECS[message]))


@pytest.mark.parametrize("overrides", [{"train.epochs": 3}, {"train.steps": 0}, {"train.steps": "many"}])
def test_overrides_that_cannot_be_are_refused(tmp_path, overrides):
    with pytest.raises(ConfigurationError):
        read_sweep(spec(tmp_path / "s.json", overrides=overrides))


def test_files_that_are_no_specs_or_configurations_are_refused(tmp_path):
    for text in ("", "[1]", "{"):
        (tmp_path / "s.json").write_text(text)
        with pytest.raises(SweepError):
            read_sweep(tmp_path / "s.json")
    lines = (
        "from ml_collections import ConfigDict",
        "def get_config(arguments):",
        "    return ConfigDict({'rate': 0.1})",
    )
    (tmp_path / "mine.py").write_text("\n".join(lines))
    with pytest.raises(ConfigurationError):
        read_sweep(spec(tmp_path / "s.json", configs=[str(tmp_path / "mine.py")]))


def scored(**more):
    return {"metric": "mse", "mean": 0.5, "scores": [0.25, 0.75], "episodes": 2, "manifest_hash": "a", **more}


def line(run, **more):
    own = {"run": run.name, "source": run.source, "seed": run.seed, "steps": 4, "evaluations": {}}
    own["config"] = run.config.to_dict()
    return json.loads(json.dumps(scored(**{**own, **more})))


def test_results_survive_their_file_and_know_their_configuration(tmp_path):
    first, second = read_sweep(spec(tmp_path / "s.json"))
    write_results(tmp_path / "r.jsonl", {first.name: line(first)})
    result = read_results(tmp_path / "r.jsonl")[first.name]
    assert not changed_keys(result, first) and changed_keys(result, second) == ["eval.seed", "seed"]
    result["config"]["dataset"]["root"] = "elsewhere"
    del result["config"]["train"]["epsilon"]
    assert not changed_keys(result, first), "written on another machine, before there was that key"


def test_a_run_is_done_when_all_evaluations_were_made_as_they_are_asked_for_now(tmp_path):
    def asked(**evaluations):
        return read_sweep(spec(tmp_path / "s.json", seeds=[0], evaluations=evaluations))[0]

    result = line(asked(), evaluations={"before": scored(asked={"readout": "learner", "steps": 0})})
    assert not is_done(None, asked())
    assert is_done(result, asked()) and is_done(result, asked(before={"steps": 0}))
    assert not is_done(result, asked(before={"steps": 1}))
    assert not is_done(result, asked(before={"steps": 0}, after={"steps": 1}))
    result["evaluations"]["before"] = {"asked": {"readout": "learner", "steps": 0}, "diverged": "all is infinite"}
    assert is_done(result, asked(before={"steps": 0})), "it would diverge again"


def test_two_sweeps_do_not_write_one_file(tmp_path):
    results = tmp_path / "results.jsonl"
    flags = [f"--spec={spec(tmp_path / 's.json')}", f"--workdir={tmp_path / 'runs'}", f"--results={results}"]
    with locked(results):
        (finished,) = run_programs([["cml_tf.sweep", *flags]])
    assert finished.code == 2 and not (tmp_path / "runs").exists()
    assert finished.messages == [
        f"error: another sweep is writing {results}: wait until it ends, or choose another file with --results."
    ]


# What is written in place of the second line: a text, or changes to the first.
DAMAGED = {
    "Expecting": '{"run"',
    "it must be an object": "[1]",
    "it has missing or invalid fields: source, seed, steps, config": '{"run": "a"}',
    "it has missing or invalid fields: mean": {"mean": "0.5"},
    "it must have a finite mean": {"mean": float("nan")},
    "one finite score per episode": {"scores": [0.5]},
    "finite score per episode, at least two": {"scores": ["x", 0.5]},
    "its machine is missing or invalid": {"machine": {"processor": "Z80"}},
    "evaluation 'a' has missing or invalid fields: metric": {"evaluations": {"a": {}}},
    "evaluation 'a' must be an object": {"evaluations": {"a": 3}},
    "is there twice": {},
}


@pytest.mark.parametrize(("message", "second"), DAMAGED.items())
def test_a_damaged_line_is_named(tmp_path, message, second):
    good = line(read_sweep(spec(tmp_path / "s.json"))[0])
    lines = [json.dumps(good), second if isinstance(second, str) else json.dumps({**good, **second})]
    (tmp_path / "r.jsonl").write_text("\n".join(lines))
    with pytest.raises(SweepError, match=f"line 2.*{message}"):
        read_results(tmp_path / "r.jsonl")


@pytest.mark.parametrize("make", [lambda path: path.mkdir(), lambda path: path.write_bytes(b"\xff\xfe{}")])
def test_what_is_no_file_of_results_is_named(tmp_path, make):
    make(tmp_path / "r.jsonl")
    with pytest.raises(SweepError, match=r"the file of results .*r\.jsonl cannot be read"):
        read_results(tmp_path / "r.jsonl")


@pytest.mark.slow
def test_an_evaluation_that_diverges_is_a_result_of_a_run_that_does_not(tmp_path):
    sweep = spec(tmp_path / "s.json", overrides={"adaptation.rate": 2.0}, evaluations={"far": {"steps": 40}})
    flags = [f"--spec={sweep}", f"--workdir={tmp_path / 'runs'}", f"--results={tmp_path / 'r.jsonl'}"]
    result = run_program("cml_tf.sweep", *flags, "--run=sinusoid_5shot_cml-smoke-seed0").last_json
    assert len(result["scores"]) == 4 and set(result["evaluations"]["far"]) == {"asked", "diverged"}
    assert "mse is not finite in" in result["evaluations"]["far"]["diverged"]
    write_results(tmp_path / "r.jsonl", {result["run"]: result})
    assert is_done(read_results(tmp_path / "r.jsonl")[result["run"]], read_sweep(sweep)[0])


@pytest.mark.slow
@pytest.mark.long
def test_the_program_goes_on_where_it_stopped_and_reports(tmp_path):
    configs, evaluations = [SOURCE, SOURCE.replace("cml", "maml")], {"before": {"steps": 0}}
    path = spec(tmp_path / "s.json", configs=configs, evaluations=evaluations)
    flags = [f"--spec={path}", f"--workdir={tmp_path / 'runs'}", f"--results={tmp_path / 'r.jsonl'}"]
    first = run_program("cml_tf.sweep", *flags, "--run=sinusoid_5shot_cml-smoke-seed0")
    result = first.last_json
    assert result["config"]["seed"] == 0 and len(result["scores"]) == result["episodes"] == 4
    before = result["evaluations"]["before"]
    assert before["manifest_hash"] == result["manifest_hash"] and before["scores"] != result["scores"]
    write_results(tmp_path / "r.jsonl", {result["run"]: result})
    done = run_program("cml_tf.sweep", *flags, "--processes=2")
    assert done.code == 0 and "1 results found, 3 runs left" in done.out
    assert len(read_results(tmp_path / "r.jsonl")) == 4
    again = run_program("cml_tf.sweep", *flags)
    assert again.code == 0 and "4 results found, 0 runs left" in again.out
    spec(path, configs=configs, seeds=[0], evaluations={**evaluations, "dagger": {"readout": "co_learner"}})
    further = run_program("cml_tf.sweep", *flags)
    assert further.code == 0 and "4 results found, 1 runs left" in further.out
    again = read_results(tmp_path / "r.jsonl")["sinusoid_5shot_cml-smoke-seed0"]
    assert set(again["evaluations"]) == {"before", "dagger"} and again["scores"] == result["scores"]
    assert again["train_seconds"] >= result["train_seconds"], "it was scored again, not trained"
    shown = [f"--results={tmp_path / 'r.jsonl'}", f"--workdir={tmp_path / 'runs'}", f"--output={tmp_path / 'page'}"]
    report = run_program("cml_tf.report", *shown)
    assert report.code == 0 and "| sinusoid_5shot | smoke | 2 |" in report.out, report.err
    page = (tmp_path / "page/report.html").read_text()
    for picture in ("sinusoid_5shot_curves.png", "sinusoid_5shot_maml-smoke-seed0_episode.png"):
        assert picture in page and (tmp_path / "page" / picture).stat().st_size > 10_000
    spec(path, configs=configs, evaluations=evaluations, overrides={"train.rate": 0.5})
    refused = run_program("cml_tf.sweep", *flags)
    assert refused.code == 2 and "seed0, which differs in train.rate" in refused.err

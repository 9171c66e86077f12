"""Runs: what a working directory may be asked for, and what is left alone."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from cml_tf.datasets import DatasetError
from cml_tf.experiments import presets
from cml_tf.experiments.configuration import default_config
from cml_tf.experiments.runs import RunError, evaluate_run, load_run, train_run, trained_on
from cml_tf.registry import Choice
from cml_tf.system.files import locked
from cml_tf.system.machine import machine
from cml_tf.training.checkpoints import CheckpointError, read_checkpoint, write_checkpoint
from tests.helpers.drawn_images import encoded, pixels, write_classes
from tests.helpers.run_folders import checkpoint, metrics_lines, snapshot
from tests.helpers.small_configs import changed, waves


def pictures(root, **changes):
    return changed(
        default_config(Choice("image_folder")),
        **{
            "dataset.root": str(root),
            "dataset.image_size": (8, 8),
            "dataset.channels": 1,
            "dataset.ways": 2,
            "dataset.shots": 1,
            "dataset.queries": 1,
            "learner.hidden": (4,),
            "train.steps": 1,
            "train.meta_batch": 1,
            "train.validation_episodes": 2,
            "eval.episodes": 2,
            **changes,
        },
    )


def test_a_run_that_did_not_keep_its_machine_has_none(tmp_path):
    assert trained_on(tmp_path) is None


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"processor": "Z80", "flags": 3, "cores": 1, "packages": 0}'])
def test_a_damaged_description_of_the_machine_is_named(tmp_path, text):
    (tmp_path / "machine.json").write_text(text)
    with pytest.raises(RunError, match=r"machine\.json must describe the machine"):
        trained_on(tmp_path)


def test_a_run_has_its_files(finished):
    assert {path.name for path in finished.iterdir()} == {
        "config.json",
        "machine.json",
        "metrics.jsonl",
        "checkpoints",
        "tensorboard",
    }
    assert trained_on(finished) == machine()
    assert {path.name for path in (finished / "checkpoints").iterdir()} == {"latest.npz", "best.npz"}
    config = json.loads((finished / "config.json").read_text())
    terms = ["query_loss", "co_learner"]
    assert config["objective"] == {"terms": terms, "reducer": "mean", "co_learners": 1, "gamma": 0.2}
    lines = [json.loads(line) for line in (finished / "metrics.jsonl").read_text().splitlines()]
    assert [(line["step"], line["split"]) for line in lines] == [
        (2, "train"),
        (2, "validation"),
        (4, "train"),
        (4, "validation"),
    ]
    metrics = {"step", "split", "loss", "mse", "co_loss", "co_mse"}
    assert set(lines[0]) == metrics | {"tasks_per_second"} and set(lines[1]) == metrics
    best, latest = checkpoint(finished, "best"), checkpoint(finished, "latest")
    scores = {line["step"]: line["mse"] for line in lines if line["split"] == "validation"}
    assert best[1]["score"] == min(scores.values()) == scores[best[1]["step"]]
    assert latest[1]["step"] == 4
    groups = {name.split("/")[0] for name in latest[0]}
    assert groups == {"learner", "co_learner", "optimizer_0"}, "learner and co-learner are saved together"


def test_a_finished_run_is_left_alone(run):
    before = snapshot(run)
    experiment = train_run(waves(), run, verbose=0)
    assert experiment.trainer.step == 4
    assert snapshot(run) == before


def test_steps_may_grow(run, finished):
    lines = metrics_lines(run)
    train_run(waves(**{"train.steps": 6}), run, verbose=0)
    assert checkpoint(run, "latest")[1]["step"] == 6
    assert metrics_lines(run)[:4] == lines
    assert [line["step"] for line in metrics_lines(run)] == [2, 2, 4, 4, 6, 6]
    assert json.loads((run / "config.json").read_text())["train"]["steps"] == 6
    with pytest.raises(RunError, match="train.steps: 6 in the run, 4 requested"):
        train_run(waves(), run, verbose=0)


CHANGES = {
    "seed": 1,
    "dataset.shots": 4,
    "learner.hidden": (5,),
    "adaptation.rate": 0.02,
    "objective.gamma": 0.3,
    "train.steps": 3,
    "train.rate": 0.5,
    "train.validate_every": 1,
    "eval.episodes": 5,
}


@pytest.mark.parametrize("key", CHANGES)
def test_another_configuration_is_refused_and_nothing_written(run, key):
    before = snapshot(run)
    with pytest.raises(RunError, match=rf"{key}: .* in the run, .* requested"):
        train_run(waves(**{key: CHANGES[key]}), run, verbose=0)
    assert snapshot(run) == before


def test_other_members_are_another_configuration(run):
    before = snapshot(run)
    for words, told in {
        "maml": "objective.terms: ",
        "cml,first_order": "'reverse' in the run, 'first_order' requested;.* train.first_order_steps: 0 in",
    }.items():
        with pytest.raises(RunError, match=told):
            train_run(presets.sinusoid(f"{words},3shot,smoke"), run, verbose=0)
    assert snapshot(run) == before


def test_steps_may_not_grow_together_with_another_change(run):
    with pytest.raises(RunError, match="train.rate: 0.001 in the run, 0.5 requested"):
        train_run(waves(**{"train.steps": 8, "train.rate": 0.5}), run, verbose=0)


def test_a_foreign_directory_is_refused(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(RunError, match="is not empty and contains no run"):
        train_run(waves(), tmp_path, verbose=0)
    with pytest.raises(RunError, match="must be a directory, received a file"):
        train_run(waves(), tmp_path / "thesis.txt", verbose=0)
    assert {path: path.read_text() for path in tmp_path.iterdir()} == {tmp_path / "thesis.txt": "years of work"}


def test_bad_data_is_found_before_anything_is_written(tmp_path):
    with pytest.raises(DatasetError):
        train_run(pictures(tmp_path / "nowhere"), tmp_path / "run", verbose=0)
    assert not (tmp_path / "run").exists()


def test_there_is_no_run(tmp_path):
    with pytest.raises(RunError, match="contains no run"):
        load_run(tmp_path)


def test_a_run_may_be_moved(run, tmp_path):
    moved = tmp_path / "elsewhere" / "moved"
    shutil.move(shutil.copytree(run, tmp_path / "copy"), moved)
    shutil.rmtree(run)
    train_run(waves(**{"train.steps": 6}), moved, verbose=0)
    assert checkpoint(moved, "latest")[1]["step"] == 6
    assert not run.exists() and not (tmp_path / "copy").exists()
    assert len(list((moved / "tensorboard" / "train").iterdir())) == 2


def test_its_data_may_be_moved(tmp_path):
    for split in ("train", "validation", "test"):
        write_classes(tmp_path / "images" / split, [f"{split} {letter}" for letter in "ab"], images=2)
    train_run(pictures(tmp_path / "images"), tmp_path / "run", verbose=0)
    scored = evaluate_run(tmp_path / "run")
    shutil.move(tmp_path / "images", tmp_path / "moved")
    lines = metrics_lines(tmp_path / "run")
    train_run(pictures(tmp_path / "moved"), tmp_path / "run", verbose=0)
    assert metrics_lines(tmp_path / "run") == lines
    assert evaluate_run(tmp_path / "run").scores.tolist() == scored.scores.tolist()


def test_one_process_trains_in_a_directory(run):
    before = snapshot(run)
    with locked(run), pytest.raises(RunError, match="another process is training in"):
        train_run(waves(**{"train.steps": 6}), run, verbose=0)
    assert snapshot(run) == before
    train_run(waves(), run, verbose=0)


def test_metrics_written_whole_but_for_the_line_end_are_written_again(run):
    expected = metrics_lines(run)
    path = run / "metrics.jsonl"
    path.write_text(path.read_text().removesuffix("\n"))
    train_run(waves(**{"train.steps": 6}), run, verbose=0)
    lines = metrics_lines(run)
    assert lines[:3] == expected[:3] and [line["step"] for line in lines] == [2, 2, 4, 6, 6]


def test_other_data_under_the_same_name_is_refused(tmp_path):
    for split in ("train", "validation", "test"):
        write_classes(tmp_path / "images" / split, [f"{split} {letter}" for letter in "ab"], images=2)
    config = pictures(tmp_path / "images")
    train_run(config, tmp_path / "run", verbose=0)
    assert evaluate_run(tmp_path / "run").episodes == 2
    (tmp_path / "images" / "train" / "train a" / "0.png").write_bytes(encoded(pixels(99)))
    before = snapshot(tmp_path / "run")
    with pytest.raises(CheckpointError, match="was trained on other data"):
        train_run(changed(config, **{"train.steps": 2}), tmp_path / "run", verbose=0)
    assert snapshot(tmp_path / "run") == before
    shutil.rmtree(tmp_path / "images")
    # Trained models need no data, episodes do.
    assert load_run(tmp_path / "run").problem.ways == 2
    with pytest.raises(DatasetError):
        evaluate_run(tmp_path / "run")


def test_evaluation_reads_the_checkpoint_it_is_told_to(run):
    values, metadata = read_checkpoint(run / "checkpoints" / "latest.npz")
    # All weights 0: whatever the input, the prediction is 0, adapted or not in any layer but the last bias.
    write_checkpoint(
        run / "checkpoints" / "latest.npz",
        {name: value * 0 if name.startswith("learner/") else value for name, value in values.items()},
        metadata,
    )
    best, latest = evaluate_run(run, episodes=6), evaluate_run(run, episodes=6, checkpoint="latest")
    assert best.manifest_hash == latest.manifest_hash
    assert best.mean != latest.mean
    zero = evaluate_run(run, episodes=6, steps=0, checkpoint="latest")
    source = load_run(run).episodes("test")
    targets = source.batch(0, 6).query.targets.numpy()
    np.testing.assert_allclose(zero.scores, np.mean(targets**2, axis=(1, 2)), rtol=1e-5)


def test_evaluation_is_repeatable_and_per_split(run):
    first, again = evaluate_run(run), evaluate_run(run)
    np.testing.assert_array_equal(first.scores, again.scores)
    assert first.as_json() == again.as_json()
    assert first.episodes == 4 and first.seed == 0
    validation = evaluate_run(run, "validation", episodes=2)
    assert validation.manifest_hash != evaluate_run(run, episodes=2).manifest_hash
    # What was validated in training is what is evaluated now.
    score = checkpoint(run, "best")[1]["score"]
    assert validation.mean == pytest.approx(score, rel=1e-5)

"""Every example of README.md and of the pages in docs/ runs as it stands.

A page is run in its order, where the README's commands were run before. Blocks under `<!-- not run: reason -->` are not
executed: their flags, configurations and syntax are checked. Blocks that ask a server are run by
tests/export/test_documented_requests.py. `make` commands are looked up only, since continuous integration runs them.
"""

from __future__ import annotations

import ast
import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from absl import flags
from ml_collections import ConfigDict, config_flags

from cml_tf.experiments.configuration import check_config
from tests.helpers.documents import PAGES, ROOT, Block, blocks, read, run_document, table, to_run
from tests.helpers.drawn_images import write_classes

# Pages that a test file of their own runs, since it asks more of them.
ELSEWHERE = {"docs/ANALYSES.md": "analyses", "docs/BACKBONES.md": "backbones", "docs/NODES.md": "nodes"}
# Pages whose examples need nothing that the README's made, and take seconds.
ALONE = ("docs/EXTENDING.md",)
OTHERS = [page for page in PAGES if page not in ("README.md", *ALONE, *ELSEWHERE) and to_run(read(page))]
# What commands begin with that are no program of ours.
FOREIGN = (
    "python3 -m pip ",
    "make ",
    ".venv/bin/tensorboard ",
    "tensorflow_model_server ",
    "CML_TFSERVING_TARGET=",
    "TF_CONFIG=",
    "curl ",
)


@pytest.fixture(scope="module")
def tour(tmp_path_factory):
    """Where the README's commands ran, and what each printed."""
    directory = tmp_path_factory.mktemp("readme")
    for split in ("train", "validation", "test"):
        write_classes(directory / "photos" / split, [f"{split}-{name}" for name in ("cat", "dog")])
    return directory, dict(run_document(read("README.md"), directory).commands)


def metrics(run: Path) -> list[dict[str, Any]]:
    """The lines of a run's `metrics.jsonl`."""
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.slow
@pytest.mark.parametrize("page", OTHERS)
def test_a_page_runs_after_the_readme(page, tour):
    directory, _ = tour
    ran = run_document(read(page), directory)
    if page == "docs/NOTEBOOK.md":
        assert "co_learner (phi)" in ran.printed and (directory / "saved_model/model.json").is_file()
    if page == "docs/TRAINING.md":
        # Trained for 4 steps by the README, then resumed and trained on to 6.
        assert [line["step"] for line in metrics(directory / "runs/tour_cml")] == [2, 2, 4, 4, 6, 6]
    if page == "docs/OWN_MODEL.md":
        assert "has running state" in ran.printed
    if page == "docs/EVALUATION.md":
        keys = {key for _, done in ran.commands for key in done.last_json}
        told = {key for row in table(read(page), "key") for key in row[0].split(", ")}
        # Of another set of images, and of regressions.
        assert told - {"dataset", "nrmse", "nrmse_ci95", "ways", "shots"} == keys


@pytest.mark.slow
@pytest.mark.parametrize("page", ALONE)
def test_a_page_runs_alone(page, tmp_path):
    run_document(read(page), tmp_path)
    assert (tmp_path / "clipped/model.json").is_file()


def test_every_page_with_examples_is_run():
    assert {"docs/TRAINING.md", "docs/EVALUATION.md", "docs/EXPORT.md", "docs/OWN_DATA.md"} <= set(OTHERS)
    for page, name in ELSEWHERE.items():
        test = (ROOT / f"tests/documents/test_{name}.py").read_text(encoding="utf-8")
        assert page in test and "run_document(" in test


@pytest.mark.slow
def test_the_readme_compares_and_exports(tour):
    _, printed = tour
    (compared,) = (json.loads(done.out.splitlines()[-1]) for line, done in printed.items() if "--compare" in line)
    assert 0.0 <= compared["mean"] <= 1.0 and compared["ci95"] >= 0.0
    assert (compared["metric"], compared["split"], compared["episodes"]) == ("accuracy", "test", 8)
    assert compared["difference"]["mean"] == pytest.approx(compared["mean"] - compared["compared"]["mean"])
    assert compared["compared"]["manifest_hash"] == compared["manifest_hash"]
    (exported,) = (done.out for line, done in printed.items() if "export.savedmodel" in line)
    version = tour[0] / exported.splitlines()[-1]
    assert version.name == "1" and (version / "saved_model.pb").is_file()
    assert (version / "assets.extra" / "model_card.md").is_file()


@pytest.mark.slow
def test_runs_hold_the_files_that_are_listed(tour):
    run = tour[0] / "runs/tour_maml"
    names = [name for row in table(read("docs/RUNS.md"), "file") for name in row[0].split(", ")]
    kept = ["config.json", "machine.json", "manifest.json", "metrics.jsonl", "tensorboard/"]
    kept += ["checkpoints/latest.npz", "best.npz"]
    assert names == kept
    for name in (*names[:-1], "checkpoints/best.npz"):
        assert (run / name).exists(), name
    assert [line["step"] for line in metrics(run)] == [2, 2, 4, 4]
    assert {"loss", "accuracy", "tasks_per_second"} <= set(metrics(run)[0])
    assert {"co_loss", "co_accuracy"} <= set(metrics(tour[0] / "runs/tour_cml")[0])


@pytest.mark.parametrize("page", PAGES)
def test_no_example_hides_in_another_language(page):
    """Blocks of text may hold templates of commands, with words to be replaced, and no commands."""
    opened = re.findall(r"^ *```(\S*)$", read(page), re.MULTILINE)[::2]
    assert set(opened) <= {"python", "sh", "text"}
    for block in blocks(read(page), "text"):
        for command in block.commands:
            assert "python -m" not in command or "METHOD" in command or "SEED" in command, command


def not_run(page: str) -> list[Block]:
    """The blocks of a page that nothing runs."""
    return [block for block in blocks(read(page), "python", "sh") if not block.runs]


def defined(program: str) -> dict[str, bool]:
    """The flags of a program, and whether each must be given."""
    base = ROOT / program.replace(".", "/")
    own = base / "__main__.py" if base.is_dir() else base.with_suffix(".py")
    assert own.is_file(), f"there is no program {program}"
    found = {}
    shared = ["cml_tf/system/command_line.py"]
    if "chosen_replicas" in own.read_text(encoding="utf-8"):
        shared.append("cml_tf/experiments/strategies.py")
    for path in (own, *own.parent.glob("*_flags.py"), *(ROOT / name for name in shared)):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and "DEFINE_" in ast.unparse(node.func):
                names = [word.value for word in node.args if isinstance(word, ast.Constant)]
                required = any(word.arg == "required" for word in node.keywords)
                found[str(names[0])] = required and path == own
    return found


def parse(command: str) -> ConfigDict | None:
    """The configuration of a command, after checking that there are such a program, flags, keys and values."""
    _, option, program, *arguments = shlex.split(command, comments=True)
    assert option == "-m", command
    known = defined(program)
    given = {word.removeprefix("--").split("=")[0].split(".")[0] for word in arguments if word.startswith("--")}
    assert given <= known.keys(), f"{command}: {sorted(given - known.keys())}"
    assert {name for name, required in known.items() if required} <= given, command
    for path in re.findall(r"--spec=(\S+)", command):
        assert (ROOT / path).is_file(), path
    if "config" not in given:
        return None
    words = [word.replace("--config=", f"--config={ROOT}/", 1) for word in arguments if "--config" in word]
    values = flags.FlagValues()
    config_flags.DEFINE_config_file("config", flag_values=values, lock_config=True, sys_argv=[program, *words])
    values([program, *words])
    return values.config


@pytest.mark.parametrize("page", [page for page in PAGES if not_run(page)])
def test_what_is_not_run_could_be(page):
    for block in not_run(page):
        if block.language == "python":
            compile(block.text, page, "exec")
            continue
        for command in block.commands:
            if command.startswith(".venv/bin/python -m "):
                config = parse(command)
                if config is not None:
                    check_config(config)
            else:
                assert command.startswith(FOREIGN), command


@pytest.mark.parametrize("page", PAGES)
def test_what_is_run_parses_too(page):
    for block in blocks(read(page), "sh"):
        if block.runs and not block.asks_server:
            for command in block.commands:
                if not command.startswith("make "):
                    parse(command)


@pytest.mark.parametrize(
    "command",
    [
        "cml_tf.train --workdir=runs/x --config=configs/sinusoid.py:5shot --config.train.stepz=1",
        "cml_tf.train --workdir=runs/x --epochs=1",
        "cml_tf.train --config=configs/sinusoid.py:5shot",
        "cml_tf.trains --workdir=runs/x",
        "cml_tf.sweep --workdir=runs/x --results=x.jsonl --spec=configs/sweeps/nothing.json",
    ],
)
def test_a_wrong_command_would_be_noticed(command):
    with pytest.raises((AssertionError, AttributeError, flags.Error)):
        parse(f".venv/bin/python -m {command}")

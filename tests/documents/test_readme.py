"""README.md and docs/METHODS.md: their examples run as they stand, and what they list is what there is.

Shell examples run from the root of the checkout, with `runs/` in a temporary directory; then the Python examples of a
document run in one fresh process, in that directory. Blocks under `<!-- not run: reason -->` are not executed: their
flags and configurations are parsed. `make` commands are looked up only, since continuous integration runs the targets.
"""

import itertools
import json
import re
import shlex
from pathlib import Path

import pytest
from absl import flags
from ml_collections import ConfigDict, config_flags

from cml_tf.experiments.configuration import check_config, keys_of
from cml_tf.experiments.reference import configuration_reference
from cml_tf.registry import AXES, Choice, members, variants
from tests.helpers.documents import ROOT, SERVER, blocks, run_python, run_shell
from tests.helpers.drawn_images import write_classes

DOCUMENTS = ["README.md", "CHANGELOG.md", "CONTRIBUTING.md"]
DOCUMENTS += [f"docs/{path.name}" for path in sorted((ROOT / "docs").glob("*.md"))]
README, METHODS = ((ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "docs/METHODS.md"))
RUN = ("cml_tf.train", "cml_tf.evaluate", "export.savedmodel")
PROGRAMS = (*RUN, "cml_tf.sweep", "cml_tf.report", "cml_tf.analyse")


def commands(runs: bool) -> list[str]:
    shell = [block for block in blocks(README, "sh") if SERVER not in block.text]
    lines = [line for block in shell if block.runs == runs for line in block.text.split("\n")]
    joined = re.sub(r" \\\n\s*", " ", "\n".join(lines))
    return [line for line in joined.split("\n") if line and not line.startswith(("#", "make"))]


def table(document: str, first: str) -> list[list[str]]:
    """The rows of the table whose first heading is `first`, as cells without backquotes."""
    lines = itertools.takewhile(
        lambda line: line.startswith("|"), document[document.index(f"| {first} |") :].splitlines()
    )
    return [[cell.strip().replace("`", "") for cell in line.strip("|").split(" | ")] for line in [*lines][2:]]


@pytest.fixture(scope="module")
def tour(tmp_path_factory):
    """Where the shell examples ran, and what each command printed."""
    directory = tmp_path_factory.mktemp("readme")
    return directory, {command: done.out for command, done in run_shell("\n".join(commands(runs=True)), directory)}


@pytest.mark.slow
def test_shell_examples_run_and_the_export_is_where_it_says(tour):
    _, printed = tour
    assert len(printed) >= 5
    (out,) = (out for command, out in printed.items() if "export.savedmodel" in command)
    version = Path(out.splitlines()[-1])
    assert version.name == "1" and (version / "saved_model.pb").is_file()
    assert (version / "assets.extra" / "model_card.md").is_file()


@pytest.mark.slow
def test_evaluations_end_with_one_json_object(tour):
    results = [out.splitlines()[-1] for command, out in tour[1].items() if "cml_tf.evaluate" in command]
    comparison, readout = map(json.loads, results)
    assert 0.0 <= comparison["mean"] <= 1.0 and comparison["ci95"] >= 0.0
    assert (comparison["metric"], comparison["split"], comparison["episodes"]) == ("accuracy", "test", 8)
    assert comparison["difference"]["mean"] == pytest.approx(comparison["mean"] - comparison["compared"]["mean"])
    assert comparison["compared"]["manifest_hash"] == comparison["manifest_hash"] != readout["manifest_hash"]
    assert (readout["split"], readout["readout"]) == ("validation", "co_learner")
    assert all(f"`{key}`" in README for key in comparison)


@pytest.mark.slow
def test_runs_hold_the_files_that_are_listed(tour):
    run = tour[0] / "runs/tour_cml"
    names = [name for row in table(README, "file") for name in row[0].split(", ")]
    kept = ["config.json", "machine.json", "metrics.jsonl", "tensorboard/", "checkpoints/latest.npz", "best.npz"]
    assert names == kept
    for name in (*names[:-1], "checkpoints/best.npz"):
        assert (run / name).exists(), name
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    # Trained for 4 steps, then resumed and trained on to 6.
    assert [line["step"] for line in lines] == [2, 2, 4, 4, 6, 6]
    assert {"loss", "accuracy", "co_loss", "co_accuracy", "tasks_per_second"} <= set(lines[0])


@pytest.mark.slow
def test_python_examples_of_the_readme_run(tour):
    directory, _ = tour
    for split in ("train", "validation", "test"):
        write_classes(directory / "photos" / split, [f"{split}-{name}" for name in ("cat", "dog")])
    printed = run_python(README, directory)
    assert "co_learner (phi)" in printed and "has running state" in printed
    assert (directory / "saved_model/model.json").is_file()


def test_python_examples_of_the_methods_run(tmp_path):
    run_python(METHODS, tmp_path)
    assert (tmp_path / "clipped/model.json").is_file()


def parse(command: str) -> tuple[str, ConfigDict | None]:
    """The program of a command and its configuration, after checking that there are such flags, keys and values."""
    _, option, program, *arguments = shlex.split(command)
    assert option == "-m" and program in PROGRAMS, command
    source = (ROOT / f"{program.replace('.', '/')}.py").read_text()
    known = set(re.findall(r'DEFINE_\w+\(\s*"(\w+)"', source))
    given = {argument.removeprefix("--").split("=")[0].split(".")[0] for argument in arguments}
    assert given <= known and ("workdir" in given) == ("workdir" in known), command
    if "config" not in given:
        return program, None
    arguments = [word.replace("--config=", f"--config={ROOT}/", 1) for word in arguments if "--config" in word]
    values = flags.FlagValues()
    config_flags.DEFINE_config_file("config", flag_values=values, lock_config=True, sys_argv=[program, *arguments])
    values([program, *arguments])
    return program, values.config


def test_commands_that_are_not_run_parse():
    programs = [command for command in commands(runs=False) if "tensorboard" not in command]
    assert len(programs) >= 5
    configs = [config for command in programs if (config := parse(command)[1]) is not None]
    for config in configs:
        check_config(config)
    sizes = [tuple(config.dataset.image_size) for config in configs if config.dataset.name == "image_folder"]
    assert sizes == [(84, 84)]


def test_commands_that_are_run_parse_too():
    assert {parse(command)[0] for command in commands(runs=True)} == set(RUN)


@pytest.mark.parametrize("command", ["--config=configs/sinusoid.py:5shot --config.train.stepz=1", "--epochs=1"])
def test_a_wrong_command_would_be_noticed(command):
    with pytest.raises((AssertionError, AttributeError, flags.Error)):
        parse(f".venv/bin/python -m cml_tf.train --workdir=runs/x {command}")


def test_the_reference_of_configurations_is_what_members_register():
    assert (ROOT / "docs/CONFIGURATION.md").read_text() == configuration_reference(), (
        "python -m cml_tf.experiments.reference > docs/CONFIGURATION.md"
    )


def test_methods_table_names_variants_that_exist_and_all_of_them():
    rows = table(README, "method")
    words = [part for row in rows for part in re.findall(r":(\w+(?:,\w+)*)", row[1])]
    named = {name for part in words for name in part.split(",")}
    chosen = {name for axis in AXES for name in members(axis)}
    # Of members those are left out that hold without a word.
    assert variants().keys() - {"smoke"} <= named <= variants().keys() | chosen | {"maml", "cml"}
    keys = keys_of(Choice("glyphs", "conv4", terms=("query_loss", "co_learner")))
    assert {key for row in rows for key in re.findall(r"--config\.([a-z_.]+)=", row[1])} <= keys.keys()


def test_flags_and_readouts_are_those_of_the_program():
    source = (ROOT / "cml_tf/evaluate.py").read_text()
    listed = {row[0].removeprefix("--") for row in table(README, "flag")}
    assert listed | {"workdir"} == set(re.findall(r'DEFINE_\w+\(\s*"(\w+)"', source))
    readouts = members("readout")
    assert {row[0].split(" ")[0] for row in table(METHODS, "readout")} == set(readouts)
    assert all(f"--readout={readout}" in README or readout == "learner" for readout in readouts)


def anchors(document: str) -> set[str]:
    """What links into a document can name."""
    headings = re.findall(r"^#+ (.+)$", document, re.MULTILINE)
    return {re.sub(r"[^a-z0-9 -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_links_lead_somewhere(name):
    document = ROOT / name
    for target in re.findall(r"\]\(([^)]+)\)", re.sub(r"<!--.*?-->", "", document.read_text(), flags=re.DOTALL)):
        if target.startswith("#"):
            assert target[1:] in anchors(document.read_text()), target
        elif "://" not in target:
            path, _, anchor = target.partition("#")
            assert (document.parent / path).exists(), target
            if anchor:
                assert anchor in anchors((document.parent / path).read_text()), target


@pytest.mark.parametrize("name", DOCUMENTS)
def test_make_targets_exist(name):
    phony = re.search(r"^\.PHONY: (.+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)[1].split()
    text = "\n".join(block.text for block in blocks((ROOT / name).read_text(), "sh"))
    assert set(re.findall(r"^make ([a-z-]+)", text, re.MULTILINE)) <= set(phony)

"""What README.md and the pages list is what there is: methods, flags, readouts, options, pages."""

import re

from cml_tf.experiments.configuration import keys_of
from cml_tf.experiments.reference import configuration_reference
from cml_tf.registry import AXES, Choice, members, variants
from tests.helpers.documents import PAGES, ROOT, read, table
from tests.test_architecture import ROOMS

# docs/systems/README.md is named by the first index like a page.
INDEXES = {"README.md", "docs/README.md"}
METHODS, EVALUATION = read("docs/METHODS.md"), read("docs/EVALUATION.md")


def flags_of(program: str) -> set[str]:
    """The flags that a program defines."""
    return set(re.findall(r'DEFINE_\w+\(\s*"(\w+)"', (ROOT / program).read_text(encoding="utf-8")))


def listed_flags(page: str) -> set[str]:
    """The flags in the table of a page."""
    return {name for row in table(read(page), "flag") for name in re.findall(r"--(\w+)", row[0])}


def test_the_readme_stays_within_two_screens():
    assert len(read("README.md").splitlines()) <= 150


def test_the_indexes_name_every_page_once():
    named = re.findall(r"^- \[[\w/]+\.md\]\(([\w/]+\.md)\): .+$", read("docs/README.md"), re.MULTILINE)
    named += [f"systems/{page}" for page in re.findall(r"\(([\w]+\.md)\)", read("docs/systems/README.md"))]
    assert sorted(named) == sorted(page.removeprefix("docs/") for page in PAGES if page not in INDEXES)


def test_pages_that_the_code_names_are_there():
    folders = ("cml_tf", "configs", "export", "benchmarks", "examples", "tests", "tools")
    files = [path for folder in folders for path in (ROOT / folder).rglob("*") if path.suffix in (".py", ".txt")]
    named = {name for path in files for name in re.findall(r"\bdocs/\w+\.md", path.read_text(encoding="utf-8"))}
    assert len(named) > 5 and named <= {*PAGES}, sorted(named - {*PAGES})


def test_the_reference_of_configurations_is_what_members_register():
    assert read("docs/CONFIGURATION.md") == configuration_reference(), (
        "python -m cml_tf.experiments.reference > docs/CONFIGURATION.md"
    )


def test_methods_table_names_members_and_variants_that_there_are():
    rows = table(METHODS, "method")
    words = [part for row in rows for part in re.findall(r":(\w+(?:,\w+)*)", row[1])]
    named = {name for part in words for name in part.split(",")}
    chosen = {name for axis in AXES for name in members(axis)}
    assert {"anil", "first_order"} <= named <= variants().keys() | chosen | {"maml", "cml"}
    keys = keys_of(Choice("glyphs", "conv4", terms=("query_loss", "co_learner")))
    assert {key for row in rows for key in re.findall(r"--config\.([a-z_.]+)=", row[1])} <= keys.keys()


def test_flags_are_those_of_the_programs():
    of_evaluate = flags_of("cml_tf/evaluate.py") | flags_of("cml_tf/experiments/strategies.py")
    assert listed_flags("docs/EVALUATION.md") | {"workdir"} == of_evaluate
    assert listed_flags("docs/EXPORT.md") == flags_of("export/savedmodel.py")
    assert listed_flags("docs/DEVICE.md") == flags_of("export/device/__main__.py")
    assert listed_flags("docs/AUTOPILOT.md") == flags_of("export/autopilot/__main__.py")
    assert listed_flags("docs/SERVING.md") | {"model_name"} == flags_of("export/serve.py")


def test_readouts_are_those_of_the_registry():
    readouts = members("readout")
    assert {row[0].split(" ")[0] for row in table(METHODS, "readout")} == set(readouts)
    assert all(f"`{readout}`" in EVALUATION for readout in readouts)
    assert all(f"--readout={readout}" in METHODS or readout == "learner" for readout in readouts)


def test_contributing_names_every_room():
    told = read("CONTRIBUTING.md").split("## Where things go")[1].split("### Four axes")[0]
    packages = {"cml_tf", "export"}
    paths = [room.replace(".", "/") for room in ROOMS if room not in packages]
    assert [path for path in paths if f"`{path}/`" not in told and f"`{path}.py`" not in told] == []

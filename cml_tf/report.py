"""Tables of sweeps: `python -m cml_tf.report --results=FILE.jsonl [--results=...] [--output=FOLDER]`.

Prints Markdown: every method compared with plain MAML (or with `--against`) in each setting, every base method with
and without CML, and the machines that trained the runs. With `--output` it also writes `report.html` and its pictures:
the tables, learning curves and an episode of each setting (with `--workdir`, the directory of the sweep's runs), the
analyses (with `--analyses`, the output of `cml_tf.analyse`), and the paper's figures next to the measured ones.
`--picture` writes the scores seed by seed, and the paired differences, as one PNG file. With `--sizes` table and
picture are of scores by size of the tasks instead (docs/FREE_WAYS.md).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from absl import flags

from cml_tf.studies.analyses.index import copy_analyses
from cml_tf.studies.page import Picture, write_page
from cml_tf.studies.pictures.differences import write_differences
from cml_tf.studies.pictures.of_runs import draw_setting
from cml_tf.studies.pictures.style import write_png
from cml_tf.studies.report_page import sweep_page
from cml_tf.studies.results import read_files
from cml_tf.studies.scores import MAML, Setting, diverged, machines, method_named, settings
from cml_tf.studies.sizes import draw_sizes, scores_by_size, sizes_table
from cml_tf.studies.tables import bases_table, budget, diverged_table, machines_table, markdown, methods_table
from cml_tf.system.command_line import fail, run

REPORT = "report.html"
_RESULTS = flags.DEFINE_multi_string(
    "results", None, "File of results from cml_tf.sweep; may be repeated.", required=True
)
_AGAINST = flags.DEFINE_string(
    "against", MAML.name, "Method to compare with, by its name in the tables: 'CML:random_noise'."
)
_OUTPUT = flags.DEFINE_string("output", None, "Folder for the page and its pictures.")
_WORKDIR = flags.DEFINE_string("workdir", None, "Directory with the runs of the sweep, for curves and episodes.")
_PICTURE = flags.DEFINE_string("picture", None, "PNG file of the scores by seed and of the paired differences.")
_SIZES = flags.DEFINE_bool("sizes", False, "Compare by ways and shots what was trained for any size and for one.")
_ANALYSES = flags.DEFINE_string("analyses", None, "Output directory of cml_tf.analyse.")


def main(arguments: list[str]) -> None:
    """Prints the tables and writes the page."""
    del arguments
    of_page = (_OUTPUT, _WORKDIR, _ANALYSES)
    if _SIZES.value and (any(flag.value for flag in of_page) or _AGAINST.value != MAML.name):
        fail("--sizes writes no page: leave out --output, --workdir, --analyses and --against.")
    if not _OUTPUT.value and (_WORKDIR.value or _ANALYSES.value):
        fail("--workdir and --analyses need a page: pass --output=FOLDER for it.")
    for folder in filter(None, (_WORKDIR.value, _ANALYSES.value)):
        if not Path(folder).is_dir():
            fail(f"the directory {folder} does not exist: check its path.")
    results = read_files([Path(path) for path in _RESULTS.value])
    if _SIZES.value:
        _by_size(results)
        return
    found, without_score = settings(results), diverged(results)
    against = MAML if _AGAINST.value == MAML.name else method_named(found, _AGAINST.value)
    for setting, methods in found.items():
        lost = [one.method for one in without_score if one.setting == setting]
        parts = (f"## {setting}", budget(methods), markdown(methods_table(methods, against, lost)))
        print("\n\n".join(filter(None, parts)) + "\n")
    bases = bases_table(found)
    if bases.rows:
        print(f"## With and without CML\n\n{markdown(bases)}\n")
    if without_score:
        print(f"## Diverged: excluded from the means above\n\n{markdown(diverged_table(without_score))}\n")
    trained_on = machines(results)
    print(f"## Training machines\n\n{markdown(machines_table(trained_on))}\n")
    if _PICTURE.value:
        write_differences(found, against, Path(_PICTURE.value))
        print(f"wrote {_PICTURE.value}")
    if _OUTPUT.value:
        output = Path(_OUTPUT.value)
        pictures, analyses = _pictures(found, output)
        page = sweep_page(found, pictures, analyses, against, without_score, trained_on)
        write_page(page, output / REPORT)
        print(f"wrote {output / REPORT}")


def _by_size(results: list[dict[str, Any]]) -> None:
    scores = scores_by_size(results)
    print(markdown(sizes_table(scores)))
    if _PICTURE.value:
        write_png(draw_sizes(scores), Path(_PICTURE.value))
        print(f"\nwrote {_PICTURE.value}")


def _pictures(found: dict[str, Setting], output: Path) -> tuple[dict[str, list[Picture]], list[Picture]]:
    """Puts them into the page's folder: those of every setting, and those of the analyses."""
    output.mkdir(parents=True, exist_ok=True)
    workdir = Path(_WORKDIR.value) if _WORKDIR.value else None
    pictures = {name: draw_setting(name, methods, workdir, output) for name, methods in found.items() if workdir}
    return pictures, copy_analyses(Path(_ANALYSES.value), output) if _ANALYSES.value else []


if __name__ == "__main__":
    run(main)

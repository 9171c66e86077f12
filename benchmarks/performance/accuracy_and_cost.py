"""What methods reach, and what they cost: `python -m benchmarks.performance.accuracy_and_cost --results=F --costs=F`.

Joins sweeps (`--results`, a file for each dataset) with what `benchmarks.performance.systems --served --output=FILE`
measured at their size (`--costs=FILE`), prints a Markdown table with a row for each method that both have, and draws
accuracy over the time of a served request with `--picture=FILE.png`.
"""

from __future__ import annotations

from pathlib import Path

from absl import flags

from benchmarks.performance.system_scores import draw, read_costs, table
from cml_tf.studies.pictures.style import write_png
from cml_tf.studies.results import read_files
from cml_tf.studies.scores import settings
from cml_tf.studies.tables import markdown
from cml_tf.system.command_line import run

_RESULTS = flags.DEFINE_multi_string("results", None, "File of results from cml_tf.sweep.", required=True)
_COSTS = flags.DEFINE_string("costs", None, "What benchmarks.performance.systems --served wrote.", required=True)
_PICTURE = flags.DEFINE_string("picture", None, "PNG file of accuracy over the time of a served request.")


def main(arguments: list[str]) -> None:
    """Prints the table and draws the picture."""
    del arguments
    found = settings(read_files([Path(path) for path in _RESULTS.value]))
    costs = read_costs(Path(_COSTS.value), found)
    print(markdown(table(found, costs)))
    if _PICTURE.value:
        write_png(draw(found, costs), Path(_PICTURE.value))


if __name__ == "__main__":
    run(main)

"""Trains players of Snake: `python -m examples.snake.train --results=FILE.jsonl --drawings=FOLDER`.

Does not repeat runs that are in the file of results, so a program that was stopped continues with the run it was in. A
run uses one core; to use two, start a second program with other seeds and the same file. With `--variance_seeds` the
program measures meta-gradients at one player instead, prints their figures as JSON, and writes them to the file that
`--gradients` names.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import tensorflow as tf
from absl import flags

from cml_tf.studies.pictures.style import write_png
from cml_tf.system.command_line import fail, run
from cml_tf.system.files import write_json
from examples.snake import results
from examples.snake.pictures import draw_curves, record_game, write_gif
from examples.snake.training import MIXES, Settings, train
from examples.snake.variance import measure, summary

_MIXES = flags.DEFINE_list("mixes", list(MIXES[:4]), f"Which losses move the discount: of {', '.join(MIXES)}.")
_SEEDS = flags.DEFINE_integer("seeds", 5, "How many seeds.", 1)
_FIRST_SEED = flags.DEFINE_integer("first_seed", 0, "The first of them; with --variance_seeds that of the player.", 0)
_SIDE = flags.DEFINE_integer("side", 4, "Side of the board, in cells.", 2)
_WINDOWS = flags.DEFINE_integer("windows", 3000, "Windows of five updates, 1,600 frames each.", 1)
_RESULTS = flags.DEFINE_string("results", None, "File with a JSON line for each finished run.")
_DRAWINGS = flags.DEFINE_string("drawings", None, "Folder for the curves, and for a game of each run that is trained.")
_VARIANCE_SEEDS = flags.DEFINE_integer("variance_seeds", 0, "Measures meta-gradients over so many seeds instead.", 0)
_GRADIENTS = flags.DEFINE_string("gradients", None, "JSON file for the single meta-gradients of --variance_seeds.")
_VARIANCE_WINDOWS = flags.DEFINE_integer("variance_windows", 300, "Windows that train the player which they are of.", 0)


def main(arguments: list[str]) -> None:
    """Trains what is not there yet, then tells and draws all that is."""
    del arguments
    # Its operations are too small to share out between cores.
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    if _VARIANCE_SEEDS.value:
        _measure_variance()
        return
    if _GRADIENTS.value:
        fail("--gradients is a file for meta-gradients: set --variance_seeds=256, or leave it out.")
    if unknown := set(_MIXES.value) - set(MIXES):
        fail(f"--mixes must be of {', '.join(MIXES)}, received {', '.join(sorted(unknown))}.")
    if not _RESULTS.value:
        fail("--results must name a file, received none: set --results=runs/snake.jsonl.")
    path = Path(_RESULTS.value)
    drawings = Path(_DRAWINGS.value) if _DRAWINGS.value else None
    for seed in range(_FIRST_SEED.value, _FIRST_SEED.value + _SEEDS.value):
        for mix in _MIXES.value:
            _train(path, drawings, Settings(mix=mix, side=_SIDE.value, windows=_WINDOWS.value), seed)
    found = results.read(path)
    print(results.table(found))
    if drawings:
        write_png(draw_curves(found), drawings / "snake_curves.png")


def _measure_variance() -> None:
    if _VARIANCE_SEEDS.value < 8:
        fail(f"--variance_seeds must be 8 or more, received {_VARIANCE_SEEDS.value}: use 256.")
    if _RESULTS.value or _DRAWINGS.value:
        fail("--variance_seeds trains no runs: leave out --results and --drawings.")
    player = Settings(side=_SIDE.value), _VARIANCE_WINDOWS.value
    measured = measure(*player, _VARIANCE_SEEDS.value, _FIRST_SEED.value)
    if _GRADIENTS.value:
        write_json(Path(_GRADIENTS.value), measured)
    gradients = np.array(measured.pop("gradients"))
    print(json.dumps({**measured, **summary(gradients)}, indent=2))


def _train(path: Path, drawings: Path | None, settings: Settings, seed: int) -> None:
    if results.is_done(path, settings, seed):
        return
    line, trained = train(settings, seed, lambda text: print(text, flush=True))
    if drawings:
        pictures, total = record_game(settings, trained.learning.iterate.parameters.extractor, seed)
        write_gif(pictures, drawings / f"snake_{settings.mix}_{seed}.gif")
        line["recorded_game"] = total
    results.add(path, line)


if __name__ == "__main__":
    run(main)

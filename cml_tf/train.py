"""Meta-trains a model: `python -m cml_tf.train --config=configs/NAME.py:ARGUMENTS --workdir=DIR`."""

from __future__ import annotations

from pathlib import Path

import tensorflow as tf
from absl import flags
from ml_collections import config_flags

from cml_tf.experiments.arguments import words_of
from cml_tf.experiments.runs import train_run
from cml_tf.experiments.settings import EXAMPLES
from cml_tf.experiments.strategies import chosen_replicas
from cml_tf.system.command_line import checked_config, run

_WORDS = ", ".join(sorted({word for examples in EXAMPLES.values() for word in words_of(examples)}))
_CONFIG = config_flags.DEFINE_config_file(
    "config",
    None,
    "Configuration file, with words after a colon: configs/cora.py:maml,5shot. Words are maml or cml, Nway, Nshot, "
    f"members from --plugins, and, if they fit the data, {_WORDS} (docs/CONFIGURATION.md).",
    lock_config=True,
)
_WORKDIR = flags.DEFINE_string(
    "workdir", None, "Directory of the run; created if missing, resumed if it contains this run.", required=True
)
_VERBOSE = flags.DEFINE_integer("verbose", 1, "0 for silent, 1 for a progress bar, 2 for one line per epoch.", 0, 2)
_KEEP = flags.DEFINE_integer("keep", 2, "How many of the latest checkpoints stay, beside the best.", 1)
_STRICT = flags.DEFINE_bool("strict", False, "Refuse a damaged checkpoint even if there is another one to go on from.")
_DETERMINISTIC = flags.DEFINE_bool(
    "deterministic", False, "Use only operations that give the same bits every time; others fail (docs/RELIABILITY.md)."
)


def main(arguments: list[str]) -> None:
    """Trains or resumes."""
    del arguments
    if _DETERMINISTIC.value:
        tf.config.experimental.enable_op_determinism()
    config = checked_config(_CONFIG.value)
    with chosen_replicas() as replicas:
        train_run(config, Path(_WORKDIR.value), _VERBOSE.value, (), replicas, _KEEP.value, _STRICT.value)


if __name__ == "__main__":
    flags.mark_flag_as_required("config")
    run(main)

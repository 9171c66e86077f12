"""Exports a run: `python -m export.savedmodel --workdir=DIR --model_dir=MODELS/NAME [--version=N --steps=S ...]`.

The SavedModel contains the adaptation, so TensorFlow Serving learns from each request. Prints the directory of the
new version as the last line.
"""

from __future__ import annotations

from pathlib import Path

from absl import flags

from cml_tf.readouts import through_head
from cml_tf.system.command_line import run
from export.exporter import Options, export_run
from export.graph.bounds import read_bounds
from export.graph.buckets import Service, read_buckets
from export.graph.compact import STATES

_WORKDIR = flags.DEFINE_string("workdir", None, "Directory of the run.", required=True)
_MODEL_DIR = flags.DEFINE_string(
    "model_dir", None, "Directory of the model, with one subdirectory per version; servers read it.", required=True
)
_VERSION = flags.DEFINE_integer("version", None, "Number of the version; the newest plus 1 by default.", 1)
_STEPS = flags.DEFINE_integer("steps", None, "Inner steps; adaptation.eval_steps of the configuration by default.", 0)
_CHECKPOINT = flags.DEFINE_enum("checkpoint", "best", ["best", "latest"], "Checkpoint to export.")
_READOUT = flags.DEFINE_string("readout", "learner", f"What answers: one of {through_head()}.")
_EPISODES = flags.DEFINE_integer(
    "evaluate_episodes", 0, "Number of test episodes to score for the model card; 0 for none, otherwise 2 or more.", 0
)
_EVALUATION = flags.DEFINE_string(
    "evaluation",
    None,
    "File with the output of python -m cml_tf.evaluate for this run, instead of --evaluate_episodes.",
)
_BATCHING = flags.DEFINE_bool(
    "batching", False, "Write batching parameters and shape buckets, for servers that batch requests."
)
_BUCKETS = flags.DEFINE_list(
    "buckets",
    [],
    "Shape buckets for --batching, as SUPPORT_QUERIES of one task: 25_75,5_75; the shapes of training by default.",
)
_MOST_SUPPORT = flags.DEFINE_integer(
    "most_support",
    None,
    "Largest number of support examples in a task; a larger task gets status 4; 2**20 values by default.",
    1,
)
_MOST_QUERIES = flags.DEFINE_integer(
    "most_queries",
    None,
    "Largest number of queries in a task; no limit if answers do not depend on the other queries.",
    1,
)
_CONFIDENCE = flags.DEFINE_string(
    "confidence",
    None,
    "File of python -m cml_tf.calibrate for this run: adds calibrated probabilities, prediction sets and is_known.",
)
_MOST_STEPS = flags.DEFINE_integer(
    "most_steps",
    None,
    "Let requests set inner steps, up to this number, and rate; adds signatures that tell losses.",
    1,
)
_RATES = flags.DEFINE_list(
    "rates", [], "Lowest and highest rate that requests may set with --most_steps, as LOW,HIGH; the model's by default."
)
_ENOUGH = flags.DEFINE_float(
    "stop_when_loss_below", None, "With --most_steps: steps end once the support loss is below; all steps by default."
)
_STATE = flags.DEFINE_enum(
    "state", "float32", list(STATES), "Also offer compact adapted states: what moved, in float16 or int8."
)
_STRICT = flags.DEFINE_bool("strict", False, "Refuse a damaged checkpoint even if there is another one.")


def main(arguments: list[str]) -> None:
    """Exports one run."""
    del arguments
    service = Service(
        _BATCHING.value,
        read_buckets(_BUCKETS.value),
        _MOST_SUPPORT.value,
        _MOST_QUERIES.value,
        read_bounds(_MOST_STEPS.value, _RATES.value, _ENOUGH.value),
        _STATE.value,
    )
    options = Options(
        _VERSION.value,
        _STEPS.value,
        _CHECKPOINT.value,
        _READOUT.value,
        _EPISODES.value,
        Path(_EVALUATION.value) if _EVALUATION.value else None,
        service,
        Path(_CONFIDENCE.value) if _CONFIDENCE.value else None,
        _STRICT.value,
    )
    print(export_run(Path(_WORKDIR.value), Path(_MODEL_DIR.value), options))


if __name__ == "__main__":
    run(main)

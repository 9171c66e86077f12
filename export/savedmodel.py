"""Exports a run: `python -m export.savedmodel --workdir=DIR --model_dir=MODELS/NAME [--version=N --steps=S ...]`.

The SavedModel holds the adaptation itself, so TensorFlow Serving learns from the request. Prints the directory of the
new version as the last line.
"""

from __future__ import annotations

from pathlib import Path

from absl import flags

from cml_tf.readouts import through_head
from cml_tf.system.command_line import run
from export.exporter import Options, export_run
from export.graph.buckets import Service, read_buckets

_WORKDIR = flags.DEFINE_string("workdir", None, "Directory of the run.", required=True)
_MODEL_DIR = flags.DEFINE_string(
    "model_dir", None, "Directory of the model, which a server is pointed at; its versions are inside.", required=True
)
_VERSION = flags.DEFINE_integer("version", None, "Number of the version; one more than the newest by default.", 1)
_STEPS = flags.DEFINE_integer("steps", None, "Inner steps; the configuration's adaptation.eval_steps by default.", 0)
_CHECKPOINT = flags.DEFINE_enum("checkpoint", "best", ["best", "latest"], "Which checkpoint.")
_READOUT = flags.DEFINE_string("readout", "learner", f"What answers: one of {through_head()}.")
_EPISODES = flags.DEFINE_integer(
    "evaluate_episodes", 0, "Test episodes to score for the model card; 0 for none, else 2 or more.", 0
)
_EVALUATION = flags.DEFINE_string(
    "evaluation", None, "Instead: a file with what python -m cml_tf.evaluate printed for this run."
)
_BATCHING = flags.DEFINE_bool(
    "batching", False, "For servers that join requests: shape buckets, which clients pad to, and batching parameters."
)
_BUCKETS = flags.DEFINE_list(
    "buckets", [], "With --batching: SUPPORT_QUERIES of one task, such as 25_75,5_75; those of training by default."
)
_MOST_SUPPORT = flags.DEFINE_integer(
    "most_support", None, "Support examples a task may have, more get status 4; as many as 2**20 values by default.", 1
)
_MOST_QUERIES = flags.DEFINE_integer(
    "most_queries", None, "Likewise of queries; any number where answers do not depend on the other queries.", 1
)


def main(arguments: list[str]) -> None:
    """Exports one run."""
    del arguments
    service = Service(_BATCHING.value, read_buckets(_BUCKETS.value), _MOST_SUPPORT.value, _MOST_QUERIES.value)
    options = Options(
        _VERSION.value,
        _STEPS.value,
        _CHECKPOINT.value,
        _READOUT.value,
        _EPISODES.value,
        Path(_EVALUATION.value) if _EVALUATION.value else None,
        service,
    )
    print(export_run(Path(_WORKDIR.value), Path(_MODEL_DIR.value), options))


if __name__ == "__main__":
    run(main)

"""Whether half precision learns as well: `python -m benchmarks.performance.precision [--steps=2000 --seeds=3]`.

Trains CML on glyphs (5-way 5-shot) with float32 and with mixed_bfloat16, from the same initial values on the same
episodes, and scores both on the same test episodes. Prints, for each seed, the mean of the paired differences in
accuracy with its 95 % interval, and one JSON object as the last line.
"""

from __future__ import annotations

from absl import flags
from rich.table import Table

from benchmarks.told import tell
from cml_tf.experiments import presets
from cml_tf.experiments.experiment import build_experiment
from cml_tf.system.command_line import run
from cml_tf.training.evaluator import Evaluation, Evaluator, compare

_STEPS = flags.DEFINE_integer("steps", 2000, "Outer steps of each training.", 1)
_SEEDS = flags.DEFINE_integer("seeds", 3, "Number of trainings with each policy.", 1)
_EPISODES = flags.DEFINE_integer("episodes", 600, "Number of test episodes.", 2)
_FILTERS = flags.DEFINE_integer("filters", 64, "Filters of each block.", 1)
_OUTPUT = flags.DEFINE_string("output", None, "File for the JSON object.")
POLICIES = ("float32", "mixed_bfloat16")


def main(arguments: list[str]) -> None:
    """Trains, scores and prints."""
    del arguments
    rows = []
    for seed in range(_SEEDS.value):
        scores = {policy: score(policy, seed) for policy in POLICIES}
        difference = compare(scores["mixed_bfloat16"], scores["float32"])
        means = {policy: scores[policy].mean for policy in POLICIES}
        rows.append({"seed": seed, **means, "difference": difference.mean, "ci95": difference.ci95})
    drawn = Table("seed", *POLICIES, "difference", title=f"accuracy after {_STEPS.value} steps", title_justify="left")
    for row in rows:
        means_read = (f"{row[policy]:.2%}" for policy in POLICIES)
        drawn.add_row(str(row["seed"]), *means_read, f"{row['difference']:+.2%} ± {row['ci95']:.2%}")
    result = {"steps": _STEPS.value, "filters": _FILTERS.value, "episodes": _EPISODES.value, "seeds": rows}
    tell(drawn, result, _OUTPUT.value)


def score(policy: str, seed: int) -> Evaluation:
    """Trains with a dtype policy and scores on the test episodes."""
    config = presets.images("glyphs", "cml,5way,5shot")
    with config.unlocked():
        config.seed = seed
        config.learner.update({"dtype_policy": policy, "filters": _FILTERS.value})
    experiment = build_experiment(config)
    trainer = experiment.trainer
    trainer.fit(experiment.episodes("train"), _STEPS.value, meta_batch=config.train.meta_batch, verbose=0)
    evaluator = Evaluator(trainer.method, experiment.problem.metric)
    return evaluator.evaluate(experiment.episodes("test"), _EPISODES.value, config.eval.seed)


if __name__ == "__main__":
    run(main)

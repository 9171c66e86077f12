"""Configurations of runs that were written before members had options of their own: today's keys from those of then."""

from __future__ import annotations

from typing import Any

# Keys that every configuration held then, whether something read them or not.
_EVERYWHERE = (
    *("dataset.ways", "dataset.image_size", "dataset.channels", "dataset.classes", "dataset.class_seed"),
    *("dataset.normalise_features", "learner.filters", "learner.hidden", "learner.extra_blocks"),
    *("learner.head_blocks", "learner.normalisation", "learner.initialisation", "learner.hops", "learner.head"),
    *("learner.attribute_matching", "objective.co_learners", "objective.co_learner_blocks", "objective.gamma"),
    *("objective.multi_step_until", "train.first_order_steps"),
)
_CO_LEARNERS = {"none": (), "cooperative": ("co_learner",), "random_noise": ("random_noise",), "adapted": ("cl",)}


def modern(settings: dict[str, Any]) -> tuple[dict[str, Any], frozenset[str]]:
    """A configuration by dotted key with today's keys, and those among them that may be nobody's.

    Args:
      settings: of any version; as it is if it names its objectives, as all do now.

    Raises:
      KeyError: if it is of no version at all.
    """
    if "objective.terms" in settings:
        return settings, frozenset()
    renamed = dict(settings)
    # What was done before there was a key.
    renamed.setdefault("learner.initialisation", "glorot_uniform")
    renamed["adaptation.update"] = renamed["adaptation.rule"]
    renamed["adaptation.rule"] = "gradient_descent"
    renamed["hypergradient.name"] = renamed.pop("hypergradient")
    outer = renamed.pop("objective.outer", "query")
    if outer == "query":
        outer = "multi_step" if renamed.get("objective.multi_step_until") else "query_loss"
    renamed["objective.terms"] = [outer, *_CO_LEARNERS[renamed.pop("objective.co_learner")]]
    renamed["objective.reducer"] = "mean"
    if renamed["learner.name"] == "sgc":
        renamed["learner.hidden"] = renamed["learner.hidden"][0]
    if renamed["learner.name"] in ("mlp", "gcn"):
        # They had the key, as all had, and no normalisation.
        renamed["learner.normalisation"] = "none"
    return renamed, frozenset(_EVERYWHERE)

"""Variants: named changes of an experiment, which arguments of a configuration file ask for.

`smoke` (seconds instead of hours), `anil`, `boil`, `meta_sgd`, `first_order`; with 5 inner steps `maml_plus_plus`,
`sharp_maml` (worst points within 0.0005 in both loops) and `reptile`; the paper's contrasts `random_noise`, `cl` (the
co-learner is adapted too) and `more_maml` (three extra blocks); its ablations `gamma_02` ... `gamma_08` (Table 5),
`co_blocks_0` ... `co_blocks_4` (Table 8) and `head_blocks_2` (Table 7: as many blocks in the head as in the
co-learner); `resnet12`; initial weights by their name, `fan_in_uniform`, `glorot_uniform` or `zero_head`; on nodes also
the other base methods, `meta_gnn`, `g_meta` and `amm_gnn`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import combinations

from ml_collections import ConfigDict

from cml_tf.experiments.combinations import CONVOLUTIONAL
from cml_tf.experiments.configuration import ConfigurationError

# Drawings, which take another inner rate than photographs.
DRAWINGS = ("glyphs", "omniglot")


def variants_of(examples: str) -> tuple[str, ...]:
    """The variants that there are for a kind of examples (`cml_tf.experiments.combinations.EXAMPLES`)."""
    return tuple(name for name in VARIANTS if _ONLY_FOR.get(name, examples) == examples)


def varied(config: ConfigDict, variants: Iterable[str]) -> ConfigDict:
    """A copy of the configuration with variants, whose order makes no difference.

    Args:
      config: of the plain method.
      variants: of `variants_of` the configuration's examples.

    Raises:
      ConfigurationError: if variants contradict each other, or are about a co-learner where there is none.
    """
    # Smoke first: schedules of other variants are shares of its few steps then.
    names = sorted(variants, key=lambda name: name != "smoke")
    for name in names:
        if config.objective.co_learner == "none" and name in _OF_CO_LEARNERS:
            raise ConfigurationError(f"variant {name!r} is about the co-learner, and MAML has none: take it with cml.")
    if names[:1] == ["smoke"]:
        config = _changed(config, names.pop(0))
    for one, other in combinations(names, 2):
        if _changed(config, one, other) != _changed(config, other, one):
            raise ConfigurationError(
                f"variants {one!r} and {other!r} contradict each other: what holds would depend on their order. Take "
                "one of them."
            )
    return _changed(config, *names)


def _changed(config: ConfigDict, *names: str) -> ConfigDict:
    """A copy of the configuration with the variants, one after the other."""
    changed = config.copy_and_resolve_references()
    for name in names:
        VARIANTS[name](changed)
    return changed


def _smoke(config: ConfigDict) -> None:
    config.learner.filters = 8
    config.dataset.queries = min(config.dataset.queries, 3)
    config.train.update({"steps": 4, "validate_every": 2, "meta_batch": 2, "validation_episodes": 2})
    config.eval.update({"episodes": 4, "queries": 3})


def _sharp_maml(config: ConfigDict) -> None:
    # What the authors' code is called with for miniImageNet: five steps at 0.1, one radius for both loops.
    rate = min(config.adaptation.rate, 0.1)
    config.adaptation.update({"steps": 5, "eval_steps": 5, "rate": rate, "sharpness": 0.0005})
    config.train.sharpness = 0.0005


def _reptile(config: ConfigDict) -> None:
    config.objective.outer = "reptile"
    config.hypergradient = "first_order"
    # One step towards one gradient would be training on all tasks at once.
    config.adaptation.update({"steps": 5, "eval_steps": 5})


def _maml_plus_plus(config: ConfigDict) -> None:
    if config.learner.name in CONVOLUTIONAL:
        config.learner.normalisation = "per_step"
    # The authors' initial rates: for drawings, and for photographs.
    rate = 0.1 if config.dataset.name in DRAWINGS else min(config.adaptation.rate, 0.01)
    config.adaptation.update({"rule": "per_step_rates", "steps": 5, "eval_steps": 5, "rate": rate})
    # Shares of the training as in the paper's 100 epochs: 15 of them, 50, and all.
    steps = config.train.steps
    config.objective.multi_step_until = max(1, round(0.15 * steps))
    config.train.update({"first_order_steps": steps // 2, "cosine_steps": steps, "final_rate": 1e-5})


def _setter(section: str, **values: str | int | float | tuple[int, ...]) -> Callable[[ConfigDict], None]:
    def change(config: ConfigDict) -> None:
        (config[section] if section else config).update(values)

    return change


_OF_CO_LEARNERS: dict[str, Callable[[ConfigDict], None]] = {
    "random_noise": _setter("objective", co_learner="random_noise"),
    "cl": _setter("objective", co_learner="adapted"),
    **{f"gamma_{round(10 * gamma):02d}": _setter("objective", gamma=gamma) for gamma in (0.2, 0.5, 0.8)},
    **{f"co_blocks_{blocks}": _setter("objective", co_learner_blocks=blocks) for blocks in range(5)},
}
VARIANTS: dict[str, Callable[[ConfigDict], None]] = {
    "smoke": _smoke,
    "anil": _setter("adaptation", partition="anil"),
    "boil": _setter("adaptation", partition="boil"),
    "meta_sgd": _setter("adaptation", rule="meta_sgd"),
    "first_order": _setter("", hypergradient="first_order"),
    "fan_in_uniform": _setter("learner", initialisation="fan_in_uniform"),
    "glorot_uniform": _setter("learner", initialisation="glorot_uniform"),
    "zero_head": _setter("learner", initialisation="zero_head"),
    "more_maml": _setter("learner", extra_blocks=3),
    "sharp_maml": _sharp_maml,
    "reptile": _reptile,
    "maml_plus_plus": _maml_plus_plus,
    "resnet12": _setter("learner", name="resnet12"),
    "head_blocks_2": _setter("learner", head_blocks=2),
    "meta_gnn": _setter("learner", name="sgc", hidden=(16,)),
    "g_meta": _setter("learner", head="prototypes"),
    "amm_gnn": _setter("learner", attribute_matching=True),
    **_OF_CO_LEARNERS,
}
_OF_IMAGES = ("more_maml", "resnet12", "head_blocks_2", *(f"co_blocks_{blocks}" for blocks in range(5)))
_ONLY_FOR = dict.fromkeys(_OF_IMAGES, "images") | dict.fromkeys(("meta_gnn", "g_meta", "amm_gnn"), "nodes")

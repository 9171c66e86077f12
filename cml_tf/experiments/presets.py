"""Ready experiments by data and method: what the files in configs/ are made of (settings: see docs/DECISIONS.md).

A variant is a comma-separated list: `smoke` (seconds instead of hours), `anil`, `boil`, `meta_sgd`, `first_order`; with
5 inner steps `maml_plus_plus`, `sharp_maml` (worst points within 0.0005 in both loops) and `reptile`; the paper's
contrasts `random_noise`, `cl` (the co-learner is adapted too) and `more_maml` (three extra blocks); its ablations
`gamma_02` ... `gamma_08` (Table 5), `co_blocks_0` ... `co_blocks_4` (Table 8) and `head_blocks_2` (Table 7: as many
blocks in the head as in the co-learner); initial weights by their name, `fan_in_uniform`, `glorot_uniform` or
`zero_head`; on nodes also the other base methods, `meta_gnn`, `g_meta` and `amm_gnn`.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations

from ml_collections import ConfigDict

from cml_tf.experiments.combinations import CONVOLUTIONAL
from cml_tf.experiments.configuration import ConfigurationError, default_config

METHODS = ("maml", "cml")


def sinusoid(shots: int, method: str, variant: str = "") -> ConfigDict:
    """Few-shot regression of sinusoids (paper 4.1): 1-40-40-1, one inner step at 0.01, gamma 0.2, 15,000 steps."""
    config = default_config()
    with config.unlocked():
        config.dataset.update({"name": "sinusoid", "shots": shots, "queries": shots})
        config.learner.name = "mlp"
        config.adaptation.rate = 0.01
        config.objective.gamma = 0.2
        config.train.update({"steps": 15000, "validate_every": 500})
        config.eval.queries = 100
    return _finish(config, method, variant)


def glyphs(ways: int, shots: int, method: str, variant: str = "") -> ConfigDict:
    """Characters of the DejaVu faces, 28x28: conv4, one inner step at 0.4, gamma 1, 30,000 outer steps."""
    return _images("glyphs", ways, shots, method, variant)


def omniglot(ways: int, shots: int, method: str, variant: str = "") -> ConfigDict:
    """Omniglot, 28x28 (paper 4.2): conv4, one inner step at 0.4, gamma 1, 30,000 outer steps."""
    return _images("omniglot", ways, shots, method, variant)


def benchmark(name: str, ways: int, shots: int, method: str, variant: str = "") -> ConfigDict:
    """An image benchmark (paper 4.2, A.1): conv4, one inner step at 0.5, gamma 1, 30,000 outer steps.

    Args:
      name: of `cml_tf.datasets.benchmarks.catalogue`.
      ways: classes an episode.
      shots: support images a class.
      method: "maml" or "cml".
      variant: as above.
    """
    return _images(name, ways, shots, method, variant, rate=0.5)


def nodes(name: str, ways: int, shots: int, method: str, variant: str = "") -> ConfigDict:
    """Nodes of a graph (paper 4.3, A.2): GCN 16-16, 20 inner steps at 0.05, gamma 0.2, one episode an outer step.

    Protocol of Tan et al. 2022 (arXiv 2212.05606): 10 queries a class, validation every 10 steps, patience 10, at most
    10,000 steps, 100 test episodes, random classes for each `dataset.class_seed`.
    """
    config = default_config()
    with config.unlocked():
        config.dataset.update({"name": name, "ways": ways, "shots": shots, "queries": 10})
        config.learner.update({"name": "gcn", "hidden": (16, 16)})
        config.adaptation.update({"rate": 0.05, "steps": 20, "eval_steps": 20})
        config.objective.gamma = 0.2
        config.train.update({"steps": 10000, "meta_batch": 1, "validate_every": 10, "patience": 10})
        config.train.validation_episodes = 20
        config.eval.episodes = 100
    return _finish(config, method, variant)


def _images(name: str, ways: int, shots: int, method: str, variant: str, rate: float = 0.4) -> ConfigDict:
    config = default_config()
    with config.unlocked():
        # Glyphs and Omniglot have 20 examples a class or more: shots and queries must share them.
        config.dataset.update({"name": name, "ways": ways, "shots": shots, "queries": 15})
        config.learner.update({"name": "conv4", "initialisation": "fan_in_uniform"})
        config.adaptation.rate = rate
        config.train.update({"steps": 30000, "validate_every": 100})
    return _finish(config, method, variant)


def _finish(config: ConfigDict, method: str, variant: str) -> ConfigDict:
    if method not in METHODS:
        raise ConfigurationError(f"the method must be one of {', '.join(METHODS)}, received {method!r}.")
    config.objective.co_learner = "cooperative" if method == "cml" else "none"
    names = list(filter(None, variant.split(",")))
    for name in names:
        if name not in VARIANTS:
            raise ConfigurationError(f"the variant must be one of {', '.join(VARIANTS)}, received {name!r}.")
        if method != "cml" and name in _OF_CO_LEARNERS:
            raise ConfigurationError(
                f"variant {name!r} is about the co-learner, and {method.upper()} has none: take it of the file that "
                "ends in _cml.py."
            )
    # Smoke first: schedules of other variants are shares of its few steps then.
    names.sort(key=lambda name: name != "smoke")
    if names[:1] == ["smoke"]:
        VARIANTS[names.pop(0)](config)
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
    rate = 0.1 if config.dataset.name in ("glyphs", "omniglot") else min(config.adaptation.rate, 0.01)
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

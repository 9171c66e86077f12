"""Variants: named changes of an experiment, which arguments of a configuration file ask for.

Beside them every member of an axis is such a word (`resnet12`, `meta_sgd`, `first_order`, `kernel_ridge`; see
docs/CONFIGURATION.md). Variants are what sets options, or several things at once: `smoke` (seconds instead of hours),
`anil`, `boil`; with 5 inner steps `maml_plus_plus`, `sharp_maml` (worst points within 0.0005 in both loops) and
`reptile`; the paper's contrast `more_maml` (three extra blocks); its ablations `gamma_02` ... `gamma_08` (Table 5),
`co_blocks_0` ... `co_blocks_4` (Table 8) and `head_blocks_2` (Table 7: as many blocks in the head as in the
co-learner); initial weights by their name, `fan_in_uniform`, `glorot_uniform` or `zero_head`; on nodes also the other
base methods, `meta_gnn`, `g_meta` and `amm_gnn`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ml_collections import ConfigDict

from cml_tf.experiments.configuration import flatten
from cml_tf.learners.layers.initialisation import INITIALISATIONS
from cml_tf.registry import AXES, Choice, ConfigurationError, Settings, axis_of, member

# Drawings, which take another inner rate than photographs.
DRAWINGS = ("glyphs", "omniglot")


def _nothing(settings: Settings) -> Mapping[str, Any]:
    return {}


@dataclass(frozen=True)
class Variant:
    """What a word changes.

    Attributes:
      chooses: members, by name.
      sets: from a configuration by dotted key to the values that it gets.
      only: the kind of examples that it is for; empty for all.
    """

    chooses: tuple[str, ...] = ()
    sets: Callable[[Settings], Mapping[str, Any]] = _nothing
    only: str = ""


def variants_of(examples: str) -> tuple[str, ...]:
    """The variants that there are for a kind of examples (`cml_tf.experiments.settings.EXAMPLES`)."""
    return tuple(name for name, variant in VARIANTS.items() if variant.only in ("", examples))


def set_options(config: ConfigDict, variants: Iterable[str]) -> None:
    """Sets the options of variants, whose order makes no difference.

    Args:
      config: with the members chosen.
      variants: by name.

    Raises:
      ConfigurationError: if two want different things, or one sets an option that the members do not have.
    """
    # As in the table, smoke first: schedules of other variants are shares of its few steps then.
    asked_for = set(variants)
    names = [name for name in VARIANTS if name in asked_for]
    asked: dict[str, tuple[str, Any]] = {}
    for name in names:
        settings = dict(flatten(config.to_dict()))
        for key, value in VARIANTS[name].sets(settings).items():
            if key not in settings:
                raise ConfigurationError(
                    f"the variant {name!r} sets {key}, which no chosen member has: leave it out, or choose a member "
                    "that has this key (cml for co-learners, conv4 for blocks)."
                )
            other, wanted = asked.get(key, (name, value))
            if wanted != value and other != "smoke":
                raise ConfigurationError(
                    f"the variants {other!r} and {name!r} cannot be combined: they set {key} to {wanted!r} and "
                    f"{value!r}. Use only one of them."
                )
            asked[key] = (name, value)
        config.update_from_flattened_dict(dict(VARIANTS[name].sets(settings)))


def _smoke(settings: Settings) -> dict[str, Any]:
    choice = Choice.of(settings)
    tiny = {
        f"{AXES[one.axis].section}.{key}": value
        for one in (*choice.members().values(), *choice.objectives())
        for key, value in one.smoke.items()
    }
    return {
        **tiny,
        "dataset.queries": min(settings["dataset.queries"], 3),
        **{"train.steps": 4, "train.validate_every": 2, "train.meta_batch": 2, "train.validation_episodes": 2},
        **{"eval.episodes": 4, "eval.queries": 3},
    }


def _sharp_maml(settings: Settings) -> dict[str, Any]:
    # What the authors' code is called with for miniImageNet: five steps at 0.1, one radius for both loops.
    rate = {"adaptation.rate": 0.1} if settings.get("adaptation.rate", 1.0) > 0.1 else {}
    return {**_FIVE_STEPS, **rate, "adaptation.sharpness": 0.0005, "train.sharpness": 0.0005}


def _maml_plus_plus(settings: Settings) -> dict[str, Any]:
    changes: dict[str, Any] = {"learner.normalisation": "per_step"} if "learner.normalisation" in settings else {}
    # The authors' initial rates: for drawings, and for photographs.
    rate = 0.1 if settings["dataset.name"] in DRAWINGS else min(settings.get("adaptation.rate", 0.01), 0.01)
    steps = settings["train.steps"]
    # Shares of the training as in the paper's 100 epochs: 15 of them, 50, and all.
    if "train.first_order_steps" in settings:
        changes["train.first_order_steps"] = steps // 2
    changes |= {"objective.multi_step_until": max(1, round(0.15 * steps)), "train.cosine_steps": steps}
    return {**changes, **_FIVE_STEPS, "adaptation.rate": rate, "train.final_rate": 1e-5}


def _setting(**values: Any) -> Callable[[Settings], Mapping[str, Any]]:
    return lambda settings: {key.replace("__", "."): value for key, value in values.items()}


_FIVE_STEPS = {"adaptation.steps": 5, "adaptation.eval_steps": 5}
VARIANTS: Mapping[str, Variant] = {
    "smoke": Variant(sets=_smoke),
    "anil": Variant(sets=_setting(adaptation__partition="anil")),
    "boil": Variant(sets=_setting(adaptation__partition="boil")),
    **{name: Variant(sets=_setting(learner__initialisation=name)) for name in INITIALISATIONS},
    "more_maml": Variant(sets=_setting(learner__extra_blocks=3), only="images"),
    # One step towards one gradient would be training on all tasks at once.
    "reptile": Variant(("reptile", "first_order"), lambda settings: _FIVE_STEPS),
    "maml_plus_plus": Variant(("multi_step", "per_step_rates"), _maml_plus_plus),
    # Behind it, whose inner rate is small enough.
    "sharp_maml": Variant(sets=_sharp_maml),
    "head_blocks_2": Variant(sets=_setting(learner__head_blocks=2), only="images"),
    "meta_gnn": Variant(("sgc",), only="nodes"),
    "g_meta": Variant(sets=_setting(learner__head="prototypes"), only="nodes"),
    "amm_gnn": Variant(sets=_setting(learner__attribute_matching=True), only="nodes"),
    **{f"gamma_{round(10 * gamma):02d}": Variant(sets=_setting(objective__gamma=gamma)) for gamma in (0.2, 0.5, 0.8)},
    **{
        f"co_blocks_{blocks}": Variant(sets=_setting(objective__co_learner_blocks=blocks), only="images")
        for blocks in range(5)
    },
}


def chosen_by(words: Iterable[str], base: Choice) -> Choice:
    """A choice with the members that words ask for.

    Args:
      words: variants, and names of members.
      base: what holds where they say nothing.

    Raises:
      ConfigurationError: if two want different members of one axis (of objectives: of one slot), or one wants another
        co-learner where there is none.
    """
    asked = [(word, name) for word in words for name in (VARIANTS[word].chooses if word in VARIANTS else (word,))]
    for word, name in asked:
        of_co_learner = axis_of(name) == "objective" and member("objective", name).traits["slot"] == "co_learner"
        if of_co_learner and not base.has_co_learner:
            raise ConfigurationError(f"{word!r} changes the co-learner, which MAML does not have: use it with cml.")
    return base.with_members(asked)

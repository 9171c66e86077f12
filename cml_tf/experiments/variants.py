"""What the words of configuration files do: members are chosen, variants set options.

Every member of an axis is such a word (`resnet12`, `meta_sgd`, `kernel_ridge`), and every variant (`anil`, `smoke`;
`cml_tf.registry.variant`): docs/CONFIGURATION.md lists them.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ml_collections import ConfigDict

from cml_tf.experiments.configuration import flatten
from cml_tf.registry import AXES, Choice, ConfigurationError, Settings, axis_of, member, variant, variants


def variants_of(examples: str) -> tuple[str, ...]:
    """The variants that there are for a kind of examples (`cml_tf.experiments.settings.EXAMPLES`)."""
    return tuple(name for name, one in variants().items() if one.only in ("", examples))


def set_options(config: ConfigDict, words: Iterable[str]) -> None:
    """Sets the options of variants, whose order makes no difference.

    Args:
      config: with the members chosen.
      words: variants, by name.

    Raises:
      ConfigurationError: if two want different things, or one sets an option that the members do not have.
    """
    asked_for = set(words)
    asked: dict[str, tuple[str, Any]] = {}
    for name, one in variants().items():
        if name not in asked_for:
            continue
        settings = dict(flatten(config.to_dict()))
        changes = one.sets(settings)
        for key, value in changes.items():
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
        config.update_from_flattened_dict(dict(changes))


@variant("smoke")
def _smoke(settings: Settings) -> dict[str, Any]:
    """Everything tiny: seconds instead of hours."""
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


def chosen_by(words: Iterable[str], base: Choice) -> Choice:
    """A choice with the members that words ask for.

    Args:
      words: variants, and names of members.
      base: what holds where they say nothing.

    Raises:
      ConfigurationError: if two want different members of one axis (of objectives: of one slot), or one wants another
        co-learner where there is none.
    """
    known = variants()
    asked = [(word, name) for word in words for name in (known[word].chooses if word in known else (word,))]
    for word, name in asked:
        of_co_learner = axis_of(name) == "objective" and member("objective", name).traits["slot"] == "co_learner"
        if of_co_learner and not base.has_co_learner:
            raise ConfigurationError(f"{word!r} changes the co-learner, which MAML does not have: use it with cml.")
    return base.with_members(asked)

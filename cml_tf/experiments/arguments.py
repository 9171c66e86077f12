"""Arguments of a configuration file: `configs/omniglot.py:cml,5way,1shot,boil`, in any order.

A method, the ways, the shots, members of the axes by their names, and variants (`cml_tf.experiments.variants`). What is
left out has the file's default.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from pathlib import Path

from ml_collections import ConfigDict

from cml_tf.experiments.configuration import flatten
from cml_tf.experiments.settings import EXAMPLES
from cml_tf.experiments.variants import chosen_by, variants_of
from cml_tf.registry import AXES, Choice, ConfigurationError, members, variants

METHODS = {"maml": ("query_loss",), "cml": ("query_loss", "co_learner")}
"""By the word: the objectives."""

_ONCE = ("method", "way", "shot")
_COUNTED = re.compile(r"([1-9][0-9]{0,5})(way|shot)")


@dataclass(frozen=True)
class Arguments:
    """What the arguments ask for.

    Attributes:
      choice: of members.
      ways: classes an episode; of no meaning for regression.
      shots: support examples a class; of regression an episode.
      variants: by name, in the order given.
    """

    choice: Choice
    ways: int
    shots: int
    variants: tuple[str, ...]


def words_of(examples: str) -> tuple[str, ...]:
    """The members and variants that there are for a kind of examples, by their words.

    Raises:
      ConfigurationError: if a member has the name of a word that means something else.
    """
    axes = [(axis, one) for axis in AXES for one in members(axis).values()]
    for _, one in axes:
        variant = variants().get(one.name)
        if _kind(one.name) != "other" or (variant is not None and one.name not in variant.chooses):
            raise ConfigurationError(f"the member {one.name!r} has the same name as another word: rename the member.")
    named = [one.name for axis, one in axes if axis != "learner" or examples in one.traits["reads"]]
    return tuple(dict.fromkeys([*named, *variants_of(examples)]))


def read_arguments(text: str, base: Choice, ways: int, shots: int) -> Arguments:
    """Reads the arguments for a dataset.

    Args:
      text: separated by commas.
      base: the dataset and the members where the text names none; without a word for the method its objectives are
        those of CML.
      ways: where the text names none.
      shots: likewise.

    Raises:
      ConfigurationError: for an argument that the dataset does not have, or two that contradict each other.
    """
    known, regression = words_of(EXAMPLES[base.dataset]), EXAMPLES[base.dataset] == "numbers"
    words = list(filter(None, text.split(",")))
    named = {kind: [word for word in words if _kind(word) == kind] for kind in (*_ONCE, "other")}
    unknown = [word for word in named["other"] if word not in known] + (named["way"] if regression else [])
    repeated = [[word, word] for word in named["other"] if words.count(word) > 1]
    surplus = [same for same in [*(named[kind] for kind in _ONCE), *repeated] if len(same) > 1]
    if received := unknown[:1] or next(iter(surplus), []):
        counts = "Nshot" if regression else "Nway, Nshot"
        near = difflib.get_close_matches(received[0], (*METHODS, *known), 1) if unknown else []
        raise ConfigurationError(
            f"words for {base.dataset} must be {' or '.join(METHODS)}, {counts}, a member or a variant "
            f"({', '.join(known)}), each at most once; received {' and '.join(repr(word) for word in received)}."
            + "".join(f" Did you mean {word!r}?" for word in near)
        )
    method, way, shot = (next(iter(named[kind]), "") for kind in _ONCE)
    with_terms = Choice(**{**vars(base), "terms": METHODS[method or "cml"]})
    return Arguments(
        choice=chosen_by(named["other"], with_terms),
        ways=int(way.removesuffix("way") or ways),
        shots=int(shot.removesuffix("shot") or shots),
        variants=tuple(word for word in named["other"] if word in variants()),
    )


def experiment_name(source: str, config: ConfigDict) -> str:
    """What runs of a configuration file are called: `omniglot_5way_1shot_cml-boil`, however its arguments are written.

    A file that is not called as its dataset keeps its own name, with the arguments behind it.

    Args:
      source: path of the file, with arguments after a colon.
      config: what the file gives.
    """
    path, _, text = source.partition(":")
    name, words = Path(path).stem, list(filter(None, text.split(",")))
    settings = config.dataset
    if name in EXAMPLES and name == settings.name:
        ways = "" if EXAMPLES[name] == "numbers" else f"_{settings.ways}way"
        method = "cml" if Choice.of(dict(flatten(config.to_dict()))).has_co_learner else "maml"
        name = f"{name}{ways}_{settings.shots}shot_{method}"
        words = [word for word in words if _kind(word) == "other"]
    return "-".join([name, *words])


def _kind(word: str) -> str:
    if word in METHODS:
        return "method"
    counted = _COUNTED.fullmatch(word)
    return counted[2] if counted else "other"

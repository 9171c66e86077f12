"""Arguments of a configuration file: `configs/omniglot.py:cml,5way,1shot,boil`, in any order.

A method, the ways, the shots, and variants (`cml_tf.experiments.variants`). What is left out has the file's default.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from ml_collections import ConfigDict

from cml_tf.experiments.combinations import EXAMPLES
from cml_tf.experiments.configuration import ConfigurationError
from cml_tf.experiments.variants import variants_of

METHODS = ("maml", "cml")
_ONCE = ("method", "way", "shot")
_COUNTED = re.compile(r"([1-9][0-9]{0,5})(way|shot)")


@dataclass(frozen=True)
class Arguments:
    """What the arguments ask for.

    Attributes:
      method: of `METHODS`.
      ways: classes an episode; of no meaning for regression.
      shots: support examples a class; of regression an episode.
      variants: by name, in the order given.
    """

    method: str
    ways: int
    shots: int
    variants: tuple[str, ...]


def read_arguments(text: str, dataset: str, ways: int, shots: int) -> Arguments:
    """Reads the arguments for a dataset.

    Args:
      text: separated by commas.
      dataset: its name, which decides what variants there are.
      ways: where the text names none.
      shots: likewise.

    Raises:
      ConfigurationError: for an argument that the dataset does not have, or two where one is asked for.
    """
    variants = variants_of(EXAMPLES[dataset])
    regression = EXAMPLES[dataset] == "numbers"
    words = list(filter(None, text.split(",")))
    named = {kind: [word for word in words if _kind(word) == kind] for kind in (*_ONCE, "variant")}
    unknown = [word for word in named["variant"] if word not in variants] + (named["way"] if regression else [])
    repeated = [[word, word] for word in named["variant"] if words.count(word) > 1]
    surplus = [same for same in [*(named[kind] for kind in _ONCE), *repeated] if len(same) > 1]
    if received := unknown[:1] or next(iter(surplus), []):
        counts = "Nshot" if regression else "Nway, Nshot"
        raise ConfigurationError(
            f"the arguments of {dataset} are maml or cml, {counts}, and variants ({', '.join(variants)}), each at most "
            f"once; received {' and '.join(repr(word) for word in received)}."
        )
    method, way, shot = (next(iter(named[kind]), "") for kind in _ONCE)
    return Arguments(
        method=method or "cml",
        ways=int(way.removesuffix("way") or ways),
        shots=int(shot.removesuffix("shot") or shots),
        variants=tuple(named["variant"]),
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
        method = "maml" if config.objective.co_learner == "none" else "cml"
        name = f"{name}{ways}_{settings.shots}shot_{method}"
        words = [word for word in words if _kind(word) == "variant"]
    return "-".join([name, *words])


def _kind(word: str) -> str:
    if word in METHODS:
        return "method"
    counted = _COUNTED.fullmatch(word)
    return counted[2] if counted else "variant"

"""What is tried: networks and ways to train them, each as the configuration of a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from cml_tf.experiments import presets
from cml_tf.learners.pretrained import pretrained
from export.autopilot.survey import Survey

# More steps than anybody has time for: the clock ends a training.
_ENDLESS = 1_000_000
# A seventh of the time goes into validation at most, however long a step takes.
_EVERY, VALIDATION_EPISODES = 40, 40
# The edge at which a network that was trained on photographs still sees something.
_NETWORK_EDGE = 96
_QUERIES = 5


@dataclass(frozen=True)
class Network:
    """A network that was trained before: `network` and `weights` as `cml_tf.learners.pretrained` takes them."""

    network: str
    weights: str = "imagenet"

    def options(self, survey: Survey) -> dict[str, Any]:
        """The options of the learner.

        Raises:
          UserError: if there is no such network, its weights cannot be loaded, or pictures do not fit it.
        """
        own = is_file(self.network)
        options: dict[str, Any] = {
            "network": self.network,
            "weights": "" if own else self.weights,
            "size": 0 if own else max(survey.edge, _NETWORK_EDGE),
        }
        pretrained(None, (survey.edge, survey.edge, survey.channels), **options)
        return options


def is_file(network: str) -> bool:
    """Whether that is a file, which holds its weights, and no name of `keras.applications`."""
    return network.endswith(".keras")


@dataclass(frozen=True)
class Candidate:
    """One of the things that are tried.

    Attributes:
      name: of its run.
      words: of a configuration file.
      what: for the report.
      options: what it sets beyond the words.
    """

    name: str
    words: str
    what: str
    options: Mapping[str, Any]

    def config(self, survey: Survey, seed: int) -> ConfigDict:
        """The configuration of its run."""
        config = presets.images("image_folder", f"{self.words},{survey.ways}way,{survey.shots}shot")
        settings = {
            "seed": seed,
            **{"dataset.root": str(survey.root), "dataset.image_size": (survey.edge, survey.edge)},
            **{"dataset.channels": survey.channels, "dataset.queries": min(_QUERIES, survey.queries)},
            **{"train.steps": _ENDLESS, "train.validate_every": _EVERY},
            **{"train.validation_episodes": VALIDATION_EPISODES, "eval.queries": survey.queries, "eval.seed": seed},
        }
        config.update_from_flattened_dict({**settings, **self.options})
        return config


# Clients ask about one picture at a time: nothing but the examples of a task gives statistics.
_SMALL = {"learner.filters": 32, "learner.normalisation": "support", "train.rate": 2e-3}
_ALL_CLASSES = "maml,meta_delta"
# Features have length 1: at a scale of 1 all classes would be about equally probable (docs/AUTOPILOT.md).
_SURE = {"adaptation.scale": 20.0}


def candidates(survey: Survey, network: Network | None = None) -> list[Candidate]:
    """All candidates, best guesses first, since short times allow only some.

    Raises:
      UserError: if the network cannot be had.
    """
    batch = {**_SMALL, **_SURE, "objective.rotation": 0.0}
    # Four times as many pictures.
    turns = {**batch, "objective.rotation": 0.5, "train.meta_batch": 2, "train.validate_every": _EVERY // 2}
    wide = {**batch, "learner.filters": 64}
    together = "all training classes told apart at once"
    turned = f"{together}, and by how much a picture was turned"
    own = [
        _small("all_classes", _ALL_CLASSES, together, batch),
        _small("kernel_ridge", "maml,kernel_ridge", "a kernel on the features, one solve a task", _SMALL),
        _small("all_classes_turned", _ALL_CLASSES, turned, turns),
        _small("cml", "cml", "Cooperative Meta-Learning, one gradient step", _SMALL),
        Candidate("all_classes_wide", _ALL_CLASSES, f"conv net of 64 filters: {together}", wide),
        _small("maml", "maml", "MAML, one gradient step", _SMALL),
    ]
    return [*(_of_network(network, survey) if network else ()), *own]


def _small(name: str, words: str, what: str, options: Mapping[str, Any]) -> Candidate:
    return Candidate(name, words, f"conv net of {_SMALL['learner.filters']} filters: {what}", options)


def _of_network(network: Network, survey: Survey) -> list[Candidate]:
    options = {f"learner.{key}": value for key, value in network.options(survey).items()}
    options |= {**_SURE, "train.meta_batch": 2, "train.rate": 1e-4}
    name = Path(network.network).stem
    prototypes = {**options, "adaptation.refinements": 10, "adaptation.normalised": True}
    tuned = {**options, "learner.tuned": True, "objective.rotation": 0.0, "train.clip_norm": 1.0}
    return [
        Candidate("network_frozen", "maml,soft_k_means,pretrained", f"{name} as it is, prototypes", prototypes),
        Candidate("network_tuned", f"{_ALL_CLASSES},pretrained", f"{name}, trained on at a low rate", tuned),
    ]

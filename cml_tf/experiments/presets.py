"""What the experiments on one kind of data have in common: the files in configs/ call these (see docs/DECISIONS.md).

Arguments are those of a configuration file (`cml_tf.experiments.arguments`): `presets.images("cub", "maml,5shot")`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from cml_tf.datasets.registry import DRAWINGS
from cml_tf.experiments.arguments import read_arguments
from cml_tf.experiments.configuration import default_config, flatten
from cml_tf.experiments.settings import EXAMPLES
from cml_tf.experiments.variants import set_options
from cml_tf.registry import Choice


def sinusoid(arguments: str = "") -> ConfigDict:
    """Few-shot regression of sinusoids (paper 4.1): 1-40-40-1, one inner step at 0.01, gamma 0.2, 15,000 steps.

    Without arguments CML with 10 shots.
    """
    settings = {
        "adaptation.rate": 0.01,
        "objective.gamma": 0.2,
        **{"train.steps": 15000, "train.validate_every": 500, "eval.queries": 100},
    }
    return _config(Choice("sinusoid"), arguments, 1, 10, settings)


def surfaces(name: str, arguments: str = "") -> ConfigDict:
    """Few-shot regression of surfaces (A-MAML, arXiv 2110.08432): 2-32-32-1 with tanh, 20 inner steps at 0.01.

    100 fixed training tasks, 5 of them an outer step, 5,000 outer steps; scored on 100 test tasks. Without arguments
    CML with 50 shots.

    Args:
      name: "cosmixture" or "alpine".
      arguments: as above.
    """
    settings = {
        "dataset.tasks": 100,
        **{"learner.hidden": (32, 32), "learner.activation": "tanh"},
        **{"adaptation.rate": 0.01, "adaptation.steps": 20, "adaptation.eval_steps": 20},
        "objective.gamma": 0.2,
        **{"train.steps": 5000, "train.meta_batch": 5, "train.validate_every": 500, "eval.episodes": 100},
    }
    return _config(Choice(name), arguments, 1, 50, settings)


def images(name: str, arguments: str = "") -> ConfigDict:
    """Images (paper 4.2, A.1): conv4, one inner step, gamma 1, 30,000 outer steps; without arguments CML 5-way 1-shot.

    The inner rate is 0.5, as in the authors' script for miniImageNet; for drawings, where the paper has none, 0.4.

    Args:
      name: "glyphs", "omniglot", "image_folder", or of `cml_tf.datasets.benchmarks.catalogue`.
      arguments: as above.
    """
    settings = {
        # Glyphs and Omniglot have 20 examples a class or more: shots and queries must share them.
        "dataset.queries": 15,
        "learner.initialisation": "fan_in_uniform",
        "adaptation.rate": 0.4 if name in DRAWINGS else 0.5,
        **{"train.steps": 30000, "train.validate_every": 100},
    }
    return _config(Choice(name, learner="conv4"), arguments, 5, 1, settings)


def nodes(name: str, arguments: str = "", ways: int = 2) -> ConfigDict:
    """Nodes of a graph (paper 4.3, A.2): GCN 16-16, 20 inner steps at 0.05, gamma 0.2, one episode an outer step.

    Protocol of Tan et al. 2022 (arXiv 2212.05606): 10 queries a class, validation every 10 steps, patience 10, at most
    10,000 steps, 100 test episodes, random classes for each `dataset.class_seed`. Without arguments CML with one shot.

    Args:
      name: of the graph.
      arguments: as above.
      ways: where the arguments name none.
    """
    settings = {
        "dataset.queries": 10,
        **{"adaptation.rate": 0.05, "adaptation.steps": 20, "adaptation.eval_steps": 20},
        "objective.gamma": 0.2,
        **{"train.steps": 10000, "train.meta_batch": 1, "train.validate_every": 10, "train.patience": 10},
        **{"train.validation_episodes": 20, "eval.episodes": 100},
    }
    return _config(Choice(name, learner="gcn"), arguments, ways, 1, settings)


def _config(base: Choice, arguments: str, ways: int, shots: int, settings: Mapping[str, Any]) -> ConfigDict:
    asked = read_arguments(arguments, base, ways, shots)
    regression = EXAMPLES[base.dataset] == "numbers"
    of_tasks = {"dataset.queries": asked.shots} if regression else {"dataset.ways": asked.ways}
    config = default_config(asked.choice)
    known = dict(flatten(config.to_dict()))
    # What is usual for the data holds for the members that have such an option.
    usual = {key: value for key, value in settings.items() if key in known}
    config.update_from_flattened_dict({**usual, **of_tasks, "dataset.shots": asked.shots})
    set_options(config, asked.variants)
    return config

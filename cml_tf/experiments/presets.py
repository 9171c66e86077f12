"""What the experiments on one kind of data have in common: the files in configs/ call these (see docs/DECISIONS.md).

Arguments are those of a configuration file (`cml_tf.experiments.arguments`): `presets.images("cub", "maml,5shot")`.
"""

from __future__ import annotations

from ml_collections import ConfigDict

from cml_tf.experiments.arguments import Arguments, read_arguments
from cml_tf.experiments.configuration import default_config
from cml_tf.experiments.variants import DRAWINGS, varied


def sinusoid(arguments: str = "") -> ConfigDict:
    """Few-shot regression of sinusoids (paper 4.1): 1-40-40-1, one inner step at 0.01, gamma 0.2, 15,000 steps.

    Without arguments CML with 10 shots.
    """
    asked = read_arguments(arguments, "sinusoid", ways=1, shots=10)
    config = default_config()
    with config.unlocked():
        config.dataset.update({"name": "sinusoid", "shots": asked.shots, "queries": asked.shots})
        config.learner.name = "mlp"
        config.adaptation.rate = 0.01
        config.objective.gamma = 0.2
        config.train.update({"steps": 15000, "validate_every": 500})
        config.eval.queries = 100
    return _finished(config, asked)


def images(name: str, arguments: str = "") -> ConfigDict:
    """Images (paper 4.2, A.1): conv4, one inner step, gamma 1, 30,000 outer steps; without arguments CML 5-way 1-shot.

    The inner rate is 0.5, as in the authors' script for miniImageNet; for drawings, where the paper has none, 0.4.

    Args:
      name: "glyphs", "omniglot", "image_folder", or of `cml_tf.datasets.benchmarks.catalogue`.
      arguments: as above.
    """
    asked = read_arguments(arguments, name, ways=5, shots=1)
    config = default_config()
    with config.unlocked():
        # Glyphs and Omniglot have 20 examples a class or more: shots and queries must share them.
        config.dataset.update({"name": name, "ways": asked.ways, "shots": asked.shots, "queries": 15})
        config.learner.update({"name": "conv4", "initialisation": "fan_in_uniform"})
        config.adaptation.rate = 0.4 if name in DRAWINGS else 0.5
        config.train.update({"steps": 30000, "validate_every": 100})
    return _finished(config, asked)


def nodes(name: str, arguments: str = "", ways: int = 2) -> ConfigDict:
    """Nodes of a graph (paper 4.3, A.2): GCN 16-16, 20 inner steps at 0.05, gamma 0.2, one episode an outer step.

    Protocol of Tan et al. 2022 (arXiv 2212.05606): 10 queries a class, validation every 10 steps, patience 10, at most
    10,000 steps, 100 test episodes, random classes for each `dataset.class_seed`. Without arguments CML with one shot.

    Args:
      name: of the graph.
      arguments: as above.
      ways: where the arguments name none.
    """
    asked = read_arguments(arguments, name, ways, shots=1)
    config = default_config()
    with config.unlocked():
        config.dataset.update({"name": name, "ways": asked.ways, "shots": asked.shots, "queries": 10})
        config.learner.update({"name": "gcn", "hidden": (16, 16)})
        config.adaptation.update({"rate": 0.05, "steps": 20, "eval_steps": 20})
        config.objective.gamma = 0.2
        config.train.update({"steps": 10000, "meta_batch": 1, "validate_every": 10, "patience": 10})
        config.train.validation_episodes = 20
        config.eval.episodes = 100
    return _finished(config, asked)


def _finished(config: ConfigDict, asked: Arguments) -> ConfigDict:
    config.objective.co_learner = "cooperative" if asked.method == "cml" else "none"
    return varied(config, asked.variants)

"""CIFAR-FS, 5-way 1-shot classification, MAML (settings: arXiv 2406.04639, section 4.2; data: docs/DATASETS.md).

python -m cml_tf.train --config=configs/cifar_fs_5way_1shot_maml.py --workdir=runs/cifar_fs_5way_1shot_maml
"""

from ml_collections import ConfigDict

from cml_tf.experiments import presets


def get_config(variant: str = "") -> ConfigDict:
    """The configuration; variants as in `cml_tf.experiments.presets`."""
    return presets.benchmark("cifar_fs", ways=5, shots=1, method="maml", variant=variant)

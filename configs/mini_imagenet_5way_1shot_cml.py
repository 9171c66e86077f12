"""miniImageNet, 5-way 1-shot classification, CML (settings: arXiv 2406.04639, section 4.2; data: docs/DATASETS.md).

python -m cml_tf.train --config=configs/mini_imagenet_5way_1shot_cml.py --workdir=runs/mini_imagenet_5way_1shot_cml
"""

from ml_collections import ConfigDict

from cml_tf.experiments import presets


def get_config(variant: str = "") -> ConfigDict:
    """The configuration; variants as in `cml_tf.experiments.presets`."""
    return presets.benchmark("mini_imagenet", ways=5, shots=1, method="cml", variant=variant)

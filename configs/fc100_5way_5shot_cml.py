"""FC100, 5-way 5-shot classification, CML (settings: arXiv 2406.04639, section 4.2; data: docs/DATASETS.md).

python -m cml_tf.train --config=configs/fc100_5way_5shot_cml.py --workdir=runs/fc100_5way_5shot_cml
"""

from ml_collections import ConfigDict

from cml_tf.experiments import presets


def get_config(variant: str = "") -> ConfigDict:
    """The configuration; variants as in `cml_tf.experiments.presets`."""
    return presets.benchmark("fc100", ways=5, shots=5, method="cml", variant=variant)

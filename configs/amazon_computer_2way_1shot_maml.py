"""Amazon-Computer, 2-way 1-shot classification of nodes, MAML (settings: arXiv 2406.04639, section 4.3).

python -m cml_tf.train --config=configs/amazon_computer_2way_1shot_maml.py --workdir=runs/amazon_1shot_maml
"""

from ml_collections import ConfigDict

from cml_tf.experiments import presets


def get_config(variant: str = "") -> ConfigDict:
    """The configuration; variants as in `cml_tf.experiments.presets`."""
    return presets.nodes("amazon_computer", ways=2, shots=1, method="maml", variant=variant)

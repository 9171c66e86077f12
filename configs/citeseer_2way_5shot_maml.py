"""CiteSeer, 2-way 5-shot classification of nodes, MAML (settings: arXiv 2406.04639, section 4.3).

python -m cml_tf.train --config=configs/citeseer_2way_5shot_maml.py --workdir=runs/citeseer_2way_5shot_maml
"""

from ml_collections import ConfigDict

from cml_tf.experiments import presets


def get_config(variant: str = "") -> ConfigDict:
    """The configuration; variants as in `cml_tf.experiments.presets`."""
    return presets.nodes("citeseer", ways=2, shots=5, method="maml", variant=variant)

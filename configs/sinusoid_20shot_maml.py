"""Sinusoid, 20-shot regression, MAML (settings: arXiv 2406.04639, section 4.1).

python -m cml_tf.train --config=configs/sinusoid_20shot_maml.py --workdir=runs/sinusoid_20shot_maml
"""

from ml_collections import ConfigDict

from cml_tf.experiments import presets


def get_config(variant: str = "") -> ConfigDict:
    """The configuration; variants as in `cml_tf.experiments.presets`."""
    return presets.sinusoid(shots=20, method="maml", variant=variant)

"""Sinusoid, 10-shot regression, CML (settings: arXiv 2406.04639, section 4.1).

python -m cml_tf.train --config=configs/sinusoid_10shot_cml.py --workdir=runs/sinusoid_10shot_cml
"""

from ml_collections import ConfigDict

from cml_tf.experiments import presets


def get_config(variant: str = "") -> ConfigDict:
    """The configuration; variants as in `cml_tf.experiments.presets`."""
    return presets.sinusoid(shots=10, method="cml", variant=variant)

"""tieredImageNet, 84x84 (settings of the CML paper, section 4.2; not in its tables; files: docs/DATASETS.md).

python -m cml_tf.train --config=configs/tiered_imagenet.py:cml,5way,1shot --workdir=runs/tiered_imagenet

Arguments: maml or cml, Nway, Nshot, members and variants (docs/CONFIGURATION.md); default `cml,5way,1shot`.

Settings: conv4 with 64 filters, one inner step at 0.5, gamma 1, meta-batch 4, 15 queries per class, 30,000 outer steps,
Adam at 0.001.
Paper: no figure.
Here: not run.
Time: 21 hours on two CPU cores (2.5 s per step), as for miniImageNet.
"""

from ml_collections import ConfigDict

from cml_tf.experiments import presets

CELLS = ("5way,1shot", "5way,5shot")


def get_config(arguments: str = "") -> ConfigDict:
    """The configuration; arguments as above."""
    return presets.images("tiered_imagenet", arguments)

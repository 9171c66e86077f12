"""FC100, 32x32 (CML paper, section 4.2, Tables 2 and 9; files: docs/DATASETS.md).

python -m cml_tf.train --config=configs/fc100.py:cml,5way,1shot --workdir=runs/fc100

Arguments: maml or cml, Nway, Nshot, members and variants (docs/CONFIGURATION.md); default `cml,5way,1shot`.

Settings: conv4 with 64 filters, one inner step at 0.5, gamma 1, meta-batch 4, 15 queries per class, 30,000 outer steps,
Adam at 0.001.
Paper, accuracy in %, 5-way 1-shot / 5-shot: MAML 36.07 / 48.03, CML 36.90 / 51.06;
with ResNet-12 (variant `resnet12`, the paper does not describe the network): MAML 36.61 / 47.48, CML 37.56 / 51.51.
Here: not run.
Time: expected on one GPU: MAML 0.24 / 0.25 hours, CML 0.26 / 0.27; with ResNet-12 1.4 / 1.8 and 1.5 / 2.0.
"""

from ml_collections import ConfigDict

from cml_tf.experiments import presets

CELLS = ("5way,1shot", "5way,5shot")


def get_config(arguments: str = "") -> ConfigDict:
    """The configuration; arguments as above."""
    return presets.images("fc100", arguments)

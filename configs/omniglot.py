"""Omniglot, 28x28: handwritten characters (CML paper, section 4.2, Tables 2 and 9).

python -m cml_tf.train --config=configs/omniglot.py:cml,5way,1shot --workdir=runs/omniglot

Arguments: maml or cml, Nway, Nshot, members and variants (docs/CONFIGURATION.md); default `cml,5way,1shot`.

Settings: conv4 with 64 filters, one inner step at 0.4 (the paper gives none for Omniglot), gamma 1, meta-batch 4, 15
queries per class, 30,000 outer steps, Adam at 0.001.
Paper, accuracy in %, 5-way 1-shot / 5-shot: MAML 91.78 / 96.59, CML 93.99 / 97.15.
Here: not run at this size. Small version (800 outer steps, the small background sets, 5 seeds; docs/PAPER_RESULTS.md):
MAML 83.42 ± 1.36 / 92.22 ± 0.78, CML 85.38 ± 1.17 / 92.58 ± 1.83.
Time: 2.5 hours on two CPU cores (0.3 s per step); expected on one GPU: MAML 0.23 / 0.24 hours, CML 0.25 / 0.26.
"""

from ml_collections import ConfigDict

from cml_tf.experiments import presets

CELLS = ("5way,1shot", "5way,5shot", "20way,1shot")


def get_config(arguments: str = "") -> ConfigDict:
    """The configuration; arguments as above."""
    return presets.images("omniglot", arguments)

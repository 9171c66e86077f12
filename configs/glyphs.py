"""Glyphs, 28x28: letters of the fonts that matplotlib ships, split by script; not in the paper, nothing to download.

python -m cml_tf.train --config=configs/glyphs.py:cml,5way,1shot --workdir=runs/glyphs

Arguments: maml or cml, Nway, Nshot, members and variants (docs/CONFIGURATION.md); default `cml,5way,1shot`.

Settings, as for Omniglot: conv4 with 64 filters, one inner step at 0.4, gamma 1, meta-batch 4, 15 queries per class,
30,000 outer steps, Adam at 0.001.
Here, accuracy in %: not run at this budget. At that of the quickstart (500 outer steps, 5-way 1-shot, 3 seeds;
docs/RESULTS.md): MAML 84.39 ± 2.39, CML 86.86 ± 2.82.
Time: 2.5 hours on two CPU cores (0.3 s per step), 5-way 1-shot.
"""

from ml_collections import ConfigDict

from cml_tf.experiments import presets

CELLS = ("5way,1shot", "5way,5shot", "20way,1shot")


def get_config(arguments: str = "") -> ConfigDict:
    """The configuration; arguments as above."""
    return presets.images("glyphs", arguments)

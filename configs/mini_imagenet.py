"""miniImageNet, 84x84 (CML paper, section 4.2, Tables 1, 4, 5, 7 and 8; files: docs/DATASETS.md).

python -m cml_tf.train --config=configs/mini_imagenet.py:cml,5way,1shot --workdir=runs/mini_imagenet

Arguments: maml or cml, Nway, Nshot, members and variants (docs/CONFIGURATION.md); default `cml,5way,1shot`.

Settings: conv4 with 64 filters, one inner step at 0.5, gamma 1, meta-batch 4, 15 queries per class, 30,000 outer steps,
Adam at 0.001.
Paper, accuracy in %, 5-way 1-shot / 5-shot:
MAML 47.44 ± 0.23 / 61.75 ± 0.42, CML 49.32 ± 0.37 / 65.84 ± 0.46, CML-dagger 50.35 ± 0.15 / 66.43 ± 0.43.
All cells, with their variants: docs/PAPER_RESULTS.md.
Here: not run.
Time: 21 hours on two CPU cores (2.5 s per step); expected on one GPU: MAML 0.38 / 0.49 hours, CML 0.41 / 0.52.
"""

from ml_collections import ConfigDict

from cml_tf.experiments import presets

CELLS = ("5way,1shot", "5way,5shot")


def get_config(arguments: str = "") -> ConfigDict:
    """The configuration; arguments as above."""
    return presets.images("mini_imagenet", arguments)

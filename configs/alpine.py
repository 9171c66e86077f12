"""Alpine: folds over two numbers from -10 to 10, regression (A-MAML, arXiv 2110.08432; not in the CML paper).

python -m cml_tf.train --config=configs/alpine.py:cml,50shot --workdir=runs/alpine

Arguments: maml or cml, Nshot, members and variants (docs/CONFIGURATION.md); default `cml,50shot`.

Settings, those of A-MAML's experiment: 2-32-32-1 with tanh, 100 training tasks of 50 support and 50 query points, 20
inner steps at 0.01 (its MAML), meta-batch 5, 5,000 outer steps, Adam at 0.001; scored on 100 test tasks. Ours: gamma
0.2, as for waves, and 100 other tasks for each seed.
Here: not run over several seeds at this budget; with a fifth of the outer steps and 5 seeds in docs/systems/a_maml.md,
with one seed in docs/DATASETS.md.
Time: a minute or two on a CPU.
"""

from ml_collections import ConfigDict

from cml_tf.experiments import presets

CELLS = ("50shot",)


def get_config(arguments: str = "") -> ConfigDict:
    """The configuration; arguments as above."""
    return presets.surfaces("alpine", arguments)

"""Cora: classification of nodes (no figure in the CML paper; docs/NODES.md).

python -m cml_tf.train --config=configs/cora.py:cml,2way,1shot --workdir=runs/cora

Arguments: maml or cml, Nway, Nshot, members and variants (docs/CONFIGURATION.md); default `cml,2way,1shot`.

Settings, after Tan et al. 2022 (arXiv 2212.05606): GCN 16-16, 20 inner steps at 0.05, gamma 0.2, one episode per outer
step, 10 queries per class, at most 10,000 outer steps, patience 10 of validations every 10, Adam at 0.001.
Paper: no figure.
Here, at most 300 outer steps, 5 seeds (the rest: docs/NODES.md), base -> with CML, 1-shot; 5-shot:
MAML 63.21 ± 5.46 -> 62.86 ± 4.59; 82.30 ± 5.79 -> 81.94 ± 6.07.
Time: mostly under a minute per run on two CPU cores, at most 300 outer steps (each is in docs/results/nodes.jsonl).
"""

from ml_collections import ConfigDict

from cml_tf.experiments import presets

CELLS = ("2way,1shot", "2way,5shot")


def get_config(arguments: str = "") -> ConfigDict:
    """The configuration; arguments as above."""
    return presets.nodes("cora", arguments)

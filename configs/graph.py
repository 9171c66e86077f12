"""Nodes of a graph of your own, from tables (docs/NODES.md).

python -m cml_tf.train --config=configs/graph.py:cml,2way,1shot --config.dataset.root=clubs --workdir=runs/clubs

Arguments: maml or cml, Nway, Nshot, members and variants (docs/CONFIGURATION.md); default `cml,2way,1shot`.

Settings, after Tan et al. 2022 (arXiv 2212.05606): GCN 16-16, 20 inner steps at 0.05, gamma 0.2, one episode per outer
step, 10 queries per class, at most 10,000 outer steps, patience 10 of validations every 10, Adam at 0.001. Set the
numbers of classes of the splits with config.dataset.classes.
Paper: no figure.
Here: not run, since this is your graph.
Time: minutes per run on two CPU cores, as for Cora.
"""

from ml_collections import ConfigDict

from cml_tf.experiments import presets

CELLS = ("2way,1shot", "2way,5shot")


def get_config(arguments: str = "") -> ConfigDict:
    """The configuration; arguments as above."""
    return presets.nodes("graph", arguments)

"""Amazon-Computer: classification of nodes (CML paper, section 4.3, Table 3; docs/NODES.md).

python -m cml_tf.train --config=configs/amazon_computer.py:cml,2way,1shot --workdir=runs/amazon_computer

Arguments: maml or cml, Nway, Nshot, members and variants (docs/CONFIGURATION.md); default `cml,2way,1shot`.

Settings, after Tan et al. 2022 (arXiv 2212.05606): GCN 16-16, 20 inner steps at 0.05, gamma 0.2, one episode per outer
step, 10 queries per class, at most 10,000 outer steps, patience 10 of validations every 10, Adam at 0.001.
Paper, accuracy in %, base -> with CML, 2-way 1-shot; 5-shot:
G-Meta (variant `g_meta`) 70.57 -> 72.26; 85.96 -> 87.10, AMM-GNN (`amm_gnn`) 74.29 -> 78.91; 80.10 -> 86.68.
Here: not run.
Time: not known.
"""

from ml_collections import ConfigDict

from cml_tf.experiments import presets

CELLS = ("2way,1shot", "2way,5shot")


def get_config(arguments: str = "") -> ConfigDict:
    """The configuration; arguments as above."""
    return presets.nodes("amazon_computer", arguments)

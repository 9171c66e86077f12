"""CoraFull: classification of nodes (CML paper, section 4.3, Table 3; docs/NODES.md).

python -m cml_tf.train --config=configs/cora_full.py:cml,5way,1shot --workdir=runs/cora_full

Arguments: maml or cml, Nway, Nshot, members and variants (docs/CONFIGURATION.md); default `cml,5way,1shot`.

Settings, after Tan et al. 2022 (arXiv 2212.05606): GCN 16-16, 20 inner steps at 0.05, gamma 0.2, one episode per outer
step, 10 queries per class, at most 10,000 outer steps, patience 10 of validations every 10, Adam at 0.001.
Paper, accuracy in %, base -> with CML, 5-way 1-shot; 5-shot:
G-Meta (variant `g_meta`) 60.44 -> 60.49; 75.84 -> 76.02, AMM-GNN (`amm_gnn`) 58.77 -> 63.27; 75.61 -> 76.19.
Here: not run.
Time: not known.
"""

from ml_collections import ConfigDict

from cml_tf.experiments import presets

CELLS = ("5way,1shot", "5way,5shot")


def get_config(arguments: str = "") -> ConfigDict:
    """The configuration; arguments as above."""
    return presets.nodes("cora_full", arguments, ways=5)

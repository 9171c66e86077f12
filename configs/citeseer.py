"""CiteSeer: classification of nodes (CML paper, section 4.3, Table 3; docs/NODES.md).

python -m cml_tf.train --config=configs/citeseer.py:cml,2way,1shot --workdir=runs/citeseer

Arguments: maml or cml, Nway, Nshot, members and variants (docs/CONFIGURATION.md); default `cml,2way,1shot`.

Settings, after Tan et al. 2022 (arXiv 2212.05606): GCN 16-16, 20 inner steps at 0.05, gamma 0.2, one episode per outer
step, 10 queries per class, at most 10,000 outer steps, patience 10 of validations every 10, Adam at 0.001.
Paper, accuracy in %, base -> with CML, 2-way 1-shot; 5-shot:
G-Meta (variant `g_meta`) 55.15 -> 61.17; 64.53 -> 76.07, AMM-GNN (`amm_gnn`) 54.53 -> 61.13; 62.93 -> 66.88.
Here, at most 300 outer steps, 5 seeds (the rest: docs/NODES.md), base -> with CML, 1-shot; 5-shot:
MAML 59.44 ± 4.94 -> 60.18 ± 5.81; 70.77 ± 11.14 -> 69.27 ± 10.25,
G-Meta 56.87 ± 4.32 -> 57.42 ± 3.70; 68.64 ± 7.70 -> 69.78 ± 7.37,
AMM-GNN 60.74 ± 4.93 -> 60.47 ± 6.22; 75.82 ± 12.95 -> 76.49 ± 13.68.
Time: mostly under a minute per run on two CPU cores, at most 300 outer steps (each is in docs/results/nodes.jsonl).
"""

from ml_collections import ConfigDict

from cml_tf.experiments import presets

CELLS = ("2way,1shot", "2way,5shot")


def get_config(arguments: str = "") -> ConfigDict:
    """The configuration; arguments as above."""
    return presets.nodes("citeseer", arguments)

"""Sine waves of random amplitude and phase, regression (CML paper, section 4.1 and Figure 2).

python -m cml_tf.train --config=configs/sinusoid.py:cml,10shot --workdir=runs/sinusoid

Arguments: maml or cml, Nshot, members and variants (docs/CONFIGURATION.md); default `cml,10shot`.

Settings: 1-40-40-1, one inner step at 0.01, gamma 0.2, meta-batch 4, 15,000 outer steps, Adam at 0.001; as many queries
as shots in training, 100 in tests.
Paper: a picture without numbers.
Here, mean squared error of 5, 10 and 20 shots, 5 seeds (docs/PAPER_RESULTS.md):
MAML 0.818 ± 0.070, 0.494 ± 0.031, 0.289 ± 0.028; CML 0.845 ± 0.064, 0.502 ± 0.049, 0.296 ± 0.006.
Time: more than a minute on a CPU.
"""

from ml_collections import ConfigDict

from cml_tf.experiments import presets

CELLS = ("10shot", "5shot", "20shot")


def get_config(arguments: str = "") -> ConfigDict:
    """The configuration; arguments as above."""
    return presets.sinusoid(arguments)

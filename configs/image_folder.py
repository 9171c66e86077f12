"""Images of your own: a folder with a subfolder for each class (docs/OWN_DATA.md).

python -m cml_tf.train --config=configs/image_folder.py:cml,5way,1shot --config.dataset.root=photos --workdir=runs/mine

Arguments: maml or cml, Nway, Nshot, members and variants (docs/CONFIGURATION.md); default `cml,5way,1shot`.

Settings, as for miniImageNet: conv4 with 64 filters, one inner step at 0.5, gamma 1, meta-batch 4, 15 queries per
class, 30,000 outer steps, Adam at 0.001; images of 84x84x3, or config.dataset.image_size and config.dataset.channels.
Paper: no figure.
Here: not run, since these are your images.
Time: 21 hours on two CPU cores at 84x84, as for miniImageNet; less for smaller images.
"""

from ml_collections import ConfigDict

from cml_tf.experiments import presets

CELLS = ("5way,1shot", "5way,5shot")


def get_config(arguments: str = "") -> ConfigDict:
    """The configuration; arguments as above."""
    return presets.images("image_folder", arguments)

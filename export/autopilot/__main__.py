"""From a folder of pictures to an exported model: `python -m export.autopilot --data=FOLDER --minutes=M --workdir=DIR`.

Tries small networks and ways to train them, gives the better ones more time, scores the best on classes that nothing
has seen, exports it, and writes report.md. Ctrl-C exports the best so far; the same command goes on.
"""

from __future__ import annotations

from pathlib import Path

from absl import flags
from rich.console import Console

from cml_tf.system.command_line import fail, run
from export.autopilot.candidates import Network, is_file
from export.autopilot.flight import Order, fly
from export.autopilot.survey import Wishes

_DATA = flags.DEFINE_string(
    "data", None, "Folder with one folder of pictures per class, or with train, validation and test.", required=True
)
_MINUTES = flags.DEFINE_float("minutes", 10.0, "Minutes to spend, in all starts together.", 0.1)
_WORKDIR = flags.DEFINE_string(
    "workdir", None, "Directory for runs, model and report; continued if it holds this work.", required=True
)
_SEED = flags.DEFINE_integer("seed", 0, "Seed of splits, weights and episodes.", 0, 2**32 - 1)
_WAYS = flags.DEFINE_integer("ways", 0, "Classes per task; 0 for as many as the classes allow, up to 5.", 0)
_SHOTS = flags.DEFINE_integer("shots", 0, "Examples per class; 0 for as many as the pictures allow, up to 5.", 0)
_SIZE = flags.DEFINE_integer("image_size", 0, "Edge that pictures are scaled to; 0 to choose by pictures and time.", 0)
_NETWORK = flags.DEFINE_string(
    "network", "", "Trained network to try too: a name of keras.applications, or a .keras file."
)
_WEIGHTS = flags.DEFINE_string("weights", "imagenet", "Weights of --network: imagenet (downloaded), or a file.")


def main(arguments: list[str]) -> None:
    """Flies, and says where the model is."""
    del arguments
    if _WEIGHTS.present and not _NETWORK.value:
        fail("--weights has no effect without --network: leave it out.")
    if _WEIGHTS.present and is_file(_NETWORK.value):
        fail(f"--weights has no effect with --network={_NETWORK.value}, which holds its own: leave it out.")
    network = Network(_NETWORK.value, _WEIGHTS.value) if _NETWORK.value else None
    wishes = Wishes(_WAYS.value, _SHOTS.value, _SIZE.value)
    order = Order(Path(_DATA.value), _MINUTES.value, Path(_WORKDIR.value), _SEED.value, wishes, network)
    print(fly(order, Console()).version)


if __name__ == "__main__":
    run(main)

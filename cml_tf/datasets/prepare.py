"""Prepares an image benchmark, or Omniglot: `python -m cml_tf.datasets.prepare NAME [--root=DIR] [--image_size=84]`.

Decodes all images once into arrays under the cache folder (CML_TF_CACHE, else ~/.cache/cml_tf) and prints what they
are. Where files are missing it says which ones to download from where; it downloads by itself what asks for neither an
account nor agreement to terms. Prepared images are read again and compared with the checksum that was written down with
them.
"""

from __future__ import annotations

from absl import flags
from rich.console import Console

from cml_tf.command_line import fail, run
from cml_tf.datasets.errors import DatasetError
from cml_tf.datasets.instructions import instructions
from cml_tf.datasets.preparation import PREPARED, folder_of, prepared, source_of, summary

_ROOT = flags.DEFINE_string("root", "", "Folder with the published files, or with what was in them.")
_IMAGE_SIZE = flags.DEFINE_multi_integer(
    "image_size", None, "Height and width to resize to; twice where they differ; the benchmark's own by default.", 1
)


def main(arguments: list[str]) -> None:
    """Prepares one benchmark."""
    name = "".join(arguments[1:])
    if name not in PREPARED:
        fail(f"NAME must be one of {', '.join(sorted(PREPARED))}, received {name!r}.")
    sides = _IMAGE_SIZE.value
    try:
        pools = prepared(name, _ROOT.value, sides * 2 if sides and len(sides) == 1 else sides)
    except DatasetError:
        print(instructions(name))
        raise
    Console().print(summary(name, pools))
    print(f"classes: {source_of(name)}")
    print(f"arrays: {folder_of(pools)}")


if __name__ == "__main__":
    run(main, operands=1)

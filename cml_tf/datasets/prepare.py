"""Prepares an image benchmark, or Omniglot: `python -m cml_tf.datasets.prepare NAME [--root=DIR] [--image_size=84]`.

Decodes all images once into arrays in the cache folder (CML_TF_CACHE, or ~/.cache/cml_tf) and prints a summary.
Downloads files that need neither an account nor agreement to terms; for other missing files it prints which ones to
download and from where. Images that are already prepared are compared with their stored checksums.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from absl import flags
from rich.console import Console
from rich.table import Table

from cml_tf.datasets.base import DatasetError
from cml_tf.datasets.benchmarks.catalogue import BENCHMARKS, instructions, load_pools
from cml_tf.datasets.benchmarks.class_splits import class_splits
from cml_tf.datasets.benchmarks.store import is_undamaged
from cml_tf.datasets.class_pool import ClassPool
from cml_tf.datasets.omniglot.dataset import OMNIGLOT, SIZE, SPLIT, prepared_omniglot
from cml_tf.datasets.storage.cache import cache_directory
from cml_tf.system.command_line import fail, run

PREPARED = (*BENCHMARKS, OMNIGLOT)
_ROOT = flags.DEFINE_string("root", "", "Folder with the published files, packed or unpacked.")
_IMAGE_SIZE = flags.DEFINE_multi_integer(
    "image_size", None, "Height and width in pixels; pass it twice if they differ; the benchmark's own by default.", 1
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


def prepared(name: str, root: str = "", image_size: Sequence[int] | None = None) -> dict[str, ClassPool]:
    """The images by split, decoded now if they were not before, and read again to compare checksums.

    Args:
      name: one of `PREPARED`.
      root: see `load_benchmark`.
      image_size: see `load_benchmark`.

    Raises:
      DatasetError: if files are missing, damaged or not those of the benchmark, or the prepared images are damaged.
    """
    if name == OMNIGLOT:
        if image_size is not None:
            raise DatasetError(f"omniglot is always prepared at {SIZE}x{SIZE}: leave out --image_size.")
        return prepared_omniglot(root)
    pools = load_pools(name, root, image_size)
    if damaged := [split for split, pool in pools.items() if not is_undamaged(pool)]:
        raise DatasetError(
            f"the prepared images of {name} ({', '.join(damaged)}) are damaged: delete {folder_of(pools)} and run this "
            "command again."
        )
    return pools


def source_of(name: str) -> str:
    """Who published the split."""
    return SPLIT if name == OMNIGLOT else class_splits(name).source


def summary(name: str, pools: Mapping[str, ClassPool]) -> Table:
    """Classes, images and checksum of each split, for people."""
    height, width, _ = next(iter(pools.values())).images.shape[1:]
    title = "Omniglot" if name == OMNIGLOT else BENCHMARKS[name].title
    table = Table(title=f"{title}, {height}x{width}")
    for heading in ("split", "classes", "images", "per class", "SHA-256"):
        table.add_column(heading, justify="left" if heading in ("split", "SHA-256") else "right")
    for split, pool in pools.items():
        least, most = int(pool.counts.min()), int(pool.counts.max())
        a_class = f"{least}" if least == most else f"{least}-{most}"
        table.add_row(split, f"{len(pool.class_names)}", f"{len(pool.images)}", a_class, pool.fingerprint[:12])
    return table


def folder_of(pools: Mapping[str, ClassPool]) -> str:
    """Where the arrays are."""
    filename = getattr(next(iter(pools.values())).images, "filename", None)
    return str(filename.parent if filename is not None else cache_directory())


if __name__ == "__main__":
    run(main, operands=1)

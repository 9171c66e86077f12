"""Preparing an image benchmark or Omniglot, and what there is afterwards in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.table import Table

from cml_tf.datasets.benchmarks import BENCHMARKS, load_pools
from cml_tf.datasets.cache import cache_directory
from cml_tf.datasets.class_pool import ClassPool
from cml_tf.datasets.class_splits import class_splits
from cml_tf.datasets.errors import DatasetError
from cml_tf.datasets.image_store import is_undamaged
from cml_tf.datasets.omniglot import SIZE
from cml_tf.datasets.omniglot_preparation import OMNIGLOT, SPLIT, prepared_omniglot

PREPARED = (*BENCHMARKS, OMNIGLOT)


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
            raise DatasetError(f"omniglot is made at {SIZE}x{SIZE} only: image_size must not be given.")
        return prepared_omniglot(root)
    pools = load_pools(name, root, image_size)
    if damaged := [split for split, pool in pools.items() if not is_undamaged(pool)]:
        raise DatasetError(
            f"the prepared images of {name} ({', '.join(damaged)}) are damaged: delete {folder_of(pools)} and run this "
            "again."
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
    for heading in ("split", "classes", "images", "a class", "SHA-256"):
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

"""Prepares an image benchmark: `python -m cml_tf.datasets.prepare NAME [--root=DIR]`.

Decodes all images once into arrays under the cache folder (CML_TF_CACHE, else ~/.cache/cml_tf) and prints what they
are. Where files are missing it says which ones to download from where; it downloads by itself only what TensorFlow
Datasets has. Prepared images are read again and compared with the checksum that was written down with them.

Exit codes: 0 done, 2 something the user can mend.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.table import Table

from cml_tf.datasets.benchmarks import BENCHMARKS, load_pools
from cml_tf.datasets.class_pool import ClassPool
from cml_tf.datasets.class_splits import class_splits
from cml_tf.datasets.errors import DatasetError
from cml_tf.datasets.image_store import is_undamaged
from cml_tf.datasets.instructions import instructions


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the program; returns its exit code."""
    parser = argparse.ArgumentParser(prog="python -m cml_tf.datasets.prepare", description=__doc__.split("\n")[0])
    parser.add_argument("name", choices=sorted(BENCHMARKS), metavar="NAME", help=", ".join(sorted(BENCHMARKS)))
    parser.add_argument("--root", default="", help="folder with the published files, or with what was in them")
    chosen = parser.parse_args(arguments)
    logging.basicConfig(level=logging.WARNING)
    try:
        pools = load_pools(chosen.name, chosen.root)
        if damaged := [split for split, pool in pools.items() if not is_undamaged(pool)]:
            raise DatasetError(
                f"the prepared images of {chosen.name} ({', '.join(damaged)}) are damaged: delete "
                f"{_folder(pools)} and run this again."
            )
    except DatasetError as error:
        print(instructions(chosen.name))
        print("error: " + " ".join(str(error).split()), file=sys.stderr)
        return 2
    Console().print(_table(chosen.name, pools))
    print(f"classes: {class_splits(chosen.name).source}")
    print(f"arrays: {_folder(pools)}")
    return 0


def _table(name: str, pools: Mapping[str, ClassPool]) -> Table:
    height, width, _ = next(iter(pools.values())).images.shape[1:]
    table = Table(title=f"{BENCHMARKS[name].title}, {height}x{width}")
    for heading in ("split", "classes", "images", "a class", "SHA-256"):
        table.add_column(heading, justify="left" if heading in ("split", "SHA-256") else "right")
    for split, pool in pools.items():
        least, most = int(pool.counts.min()), int(pool.counts.max())
        a_class = f"{least}" if least == most else f"{least}-{most}"
        table.add_row(split, f"{len(pool.class_names)}", f"{len(pool.images)}", a_class, pool.fingerprint[:12])
    return table


def _folder(pools: Mapping[str, ClassPool]) -> str:
    filename = getattr(next(iter(pools.values())).images, "filename", None)
    return str(filename.parent) if filename is not None else "the cache"


if __name__ == "__main__":
    sys.exit(main())

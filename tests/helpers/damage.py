"""Files with one bit flipped, or cut short."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np


def flipped(content: bytes, bit: int) -> bytes:
    """With another value of one bit."""
    changed = bytearray(content)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def damaged_copies(folder: Path, count: int, seed: int) -> Iterator[tuple[Path, str]]:
    """Damages the files of a folder in turn, one at a time and with what is restored after each.

    Args:
      folder: the files are in it, and below.
      count: of flipped bits, as many in each file; a tenth as many cuts come after them.
      seed: of the places.

    Yields:
      The damaged file, and what is wrong with it.
    """
    random = np.random.default_rng(seed)
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    for number in range(count + count // 10):
        path = paths[number % len(paths)]
        content = path.read_bytes()
        if not content:
            continue
        place = int(random.integers(8 * len(content)))
        cut = number >= count
        if cut and path.parent.parent.name == "tensorboard":
            continue  # A log that ends between two records is a shorter log.
        path.write_bytes(content[: place // 8] if cut else flipped(content, place))
        yield path, f"all after byte {place // 8}" if cut else f"bit {place}"
        path.write_bytes(content)

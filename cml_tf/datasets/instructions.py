"""What somebody has to download by hand, in words."""

from __future__ import annotations

from cml_tf.datasets.benchmarks import BENCHMARKS, archive_of
from cml_tf.datasets.published_sets import PublishedSet


def instructions(name: str) -> str:
    """How to prepare a benchmark of `BENCHMARKS`: what to download from where into which folder."""
    source = BENCHMARKS[name].source
    command = f"python -m cml_tf.datasets.prepare {name}"
    if isinstance(source, PublishedSet):
        lines = [
            f"{BENCHMARKS[name].title} is downloaded by TensorFlow Datasets ({source.builder}):",
            f"  {command}",
            "Without a network, put these files into one folder, as they are, and name it:",
            *(f"  {file}  from {url}" for file, url in source.files.items()),
        ]
    else:
        lines = [download_by_hand(name), "Put it into a folder, as it is or unpacked, and name that:"]
    return "\n".join([*lines, f"  {command} --root=FOLDER"])


def download_by_hand(name: str) -> str:
    """Which file of a benchmark has to be downloaded by hand, from where.

    Raises:
      ValueError: if TensorFlow Datasets downloads it.
    """
    source = archive_of(name)
    kind, checksum = source.checksum
    return "\n".join(
        [
            f"{BENCHMARKS[name].title} has to be downloaded by hand:",
            f"  {source.name} ({source.size}, {kind.upper()} {checksum})",
            f"  from {source.url}",
        ]
    )

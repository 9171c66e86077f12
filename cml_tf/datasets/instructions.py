"""What somebody has to download, in words."""

from __future__ import annotations

from cml_tf.datasets.benchmarks import BENCHMARKS, archive_of
from cml_tf.datasets.omniglot_preparation import FILES, OMNIGLOT
from cml_tf.datasets.published_sets import PublishedSet


def instructions(name: str) -> str:
    """How to prepare a benchmark of `BENCHMARKS`, or Omniglot: what to download from where into which folder."""
    title, source = ("Omniglot", FILES) if name == OMNIGLOT else (BENCHMARKS[name].title, BENCHMARKS[name].source)
    command = f"python -m cml_tf.datasets.prepare {name}"
    if isinstance(source, PublishedSet):
        lines = [
            f"{title} is made by TensorFlow Datasets ({source.builder}), which downloads what it can:",
            f"  {command}",
            *([source.note] if source.note else []),
            "Where it cannot, put these files into one folder, as they are, and name it:",
        ]
        for file in source.pinned():
            lines += [f"  {file.name} ({file.size:,} bytes, SHA-256 {file.sha256})", f"  from {file.url}"]
    else:
        direct = [f"{title} is downloaded by", f"  {command}", "Where that cannot be:"]
        lines = [*(direct if source.direct else []), download_by_hand(name)]
        lines.append("Put it into a folder, as it is or unpacked, and name that:")
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

"""Programs that are each other's workers, on loopback."""

from __future__ import annotations

from pathlib import Path

from benchmarks.reliability.loopback import tf_configs
from tests.helpers.forked_programs import ROOT, Program
from tests.helpers.programs import Finished, environment


def run_cluster(folder: Path, *calls: list[str], bound: float = 120, missing: int = 0) -> list[Finished]:
    """Runs programs to their ends, several of them with TF_CONFIG; each must end within a number of seconds.

    Args:
      folder: for what they print.
      calls: module and flags of each.
      bound: how many seconds.
      missing: how many processes TF_CONFIG names that are never started.
    """
    clusters = tf_configs(len(calls) + missing)
    started = []
    for index, call in enumerate(calls):
        files = folder / f"out{index}", folder / f"err{index}"
        more = {"TF_CONFIG": clusters[index]} if len(clusters) > 1 else {}
        started.append((Program(call, *files, {**environment(), **more}, ROOT), *files))
    return [Finished(one.wait(bound), out.read_text(), err.read_text()) for one, out, err in started]

"""Rows of learners on the nodes of a graph: speed and memory beside the peer's, and features propagated once.

Graphs are random ones of the sizes that the work names, so no row needs files; what a step costs depends on sizes and
degrees only. The peer is `benchmarks.peers.torch_nodes`.
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import replace

from benchmarks.performance.against_peer import BACKWARDS
from benchmarks.performance.by_itself import cost
from benchmarks.performance.contestant import ours, peer, running, spread, take_turns
from benchmarks.performance.equality import check_equal
from benchmarks.performance.node_building import node_context, random_graph
from benchmarks.performance.results import Figure
from benchmarks.performance.work import Work

_MIB_A_GIB = 1024


def beside_the_peer(row: str, work: Work, rounds: int, backwards: tuple[str, ...] = BACKWARDS) -> list[Figure]:
    """Meta-steps a second and peak memory, ours and those of the peer's ways, in turns.

    Args:
      row: name of the row.
      work: of all; on nodes.
      rounds: steps of each, beside the first one.
      backwards: the peer's ways, that of the higher speed is the one compared with.
    """
    with ExitStack() as stack:
        mine = stack.enter_context(running(ours(work)))
        peers = {backward: stack.enter_context(running(peer(work, backward))) for backward in backwards}
        contestants = {"ours": mine, **peers}
        # The check of equality takes memory too.
        peaks = {name: contestant.ask("memory")["peak"] / _MIB_A_GIB for name, contestant in contestants.items()}
        difference = check_equal(mine, *peers.values()) if peers else 0.0
        times = take_turns(contestants, rounds)
    seconds = {name: spread(values) for name, values in times.items()}
    details = {"seconds": {n: s._asdict() for n, s in seconds.items()}, "largest_difference": difference}
    median = seconds["ours"].median
    figures = [
        Figure(row, "meta-steps a second", 1 / median, "1/s", note=f"{work.label}, random graph", details=details),
        Figure(row, "peak memory", peaks["ours"], "GiB", "at most", 8.0, "graph and imports included"),
    ]
    if not peers:
        return figures
    faster = min(peers, key=lambda name: seconds[name].median)
    other = seconds[faster].median
    note = f"{median:.3g} s against {other:.3g} s, backward {faster}"
    return [
        *figures,
        Figure(row, "meta-steps a second of the peer", 1 / other, "1/s", note=f"backward {faster}"),
        Figure(row, "times the peer", other / median, "x", note=note),
        *(Figure(row, f"peak memory of the peer, {name}", peaks[name], "GiB") for name in peers),
    ]


def by_itself(row: str, work: Work, rounds: int) -> list[Figure]:
    """Meta-steps a second and peak memory of ours alone: work that would take the peer many minutes a step."""
    measured = cost(work, rounds)
    note = f"{work.label}, random graph"
    return [
        Figure(row, "meta-steps a second, alone", 1 / measured.seconds, "1/s", note=note),
        Figure(row, "peak memory, alone", measured.peak / _MIB_A_GIB, "GiB", "at most", 8.0),
    ]


def propagated_once(row: str, work: Work, rounds: int) -> list[Figure]:
    """SGC: seconds of the propagation, which all training does once, beside those of a step, which has none."""
    work = replace(work, learner="sgc")
    graph = random_graph(work)
    # The first call imports SciPy's and Spektral's parts.
    node_context(random_graph(replace(work, nodes=10, edges=10)), work.learner)
    start = time.perf_counter()
    node_context(graph, work.learner)
    propagation = time.perf_counter() - start
    step = cost(work, rounds)
    return [
        Figure(row, "propagation, once", propagation, "s", note=f"{work.label}, random graph"),
        Figure(row, "meta-step", step.seconds, "s", note=f"{work.tasks} tasks, {work.steps} inner steps"),
        Figure(row, "peak memory", step.peak / _MIB_A_GIB, "GiB", "at most", 8.0, "graph and imports included"),
    ]

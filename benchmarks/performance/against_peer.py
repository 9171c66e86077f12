"""Rows that set our step beside the peer's."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace

from benchmarks.performance.contestant import ours, peer, running, spread, take_turns
from benchmarks.performance.equality import check_equal
from benchmarks.performance.floating_point import step_operations
from benchmarks.performance.matrix_rate import gemm_gflops
from benchmarks.performance.results import Figure
from benchmarks.performance.work import Work

BACKWARDS = ("summed", "per_task")


def times_the_peer(
    row: str, work: Work, target: float, rounds: int, backwards: tuple[str, ...] = BACKWARDS
) -> list[Figure]:
    """How many times faster our step is than the peer's, in whichever of its ways is the faster one.

    Args:
      row: name of the row.
      work: of both.
      target: the ratio asked for.
      rounds: steps of each; after the first one only the faster of the peer's ways goes on.
      backwards: the peer's ways.
    """
    with ExitStack() as stack:
        mine = stack.enter_context(running(ours(work)))
        peers = {backward: stack.enter_context(running(peer(work, backward))) for backward in backwards}
        # The check of equality takes memory too.
        memory = {name: contestant.ask("memory") for name, contestant in {"ours": mine, **peers}.items()}
        difference = check_equal(mine, *peers.values())
        times = take_turns({"ours": mine, **peers}, 1)
        faster = min(peers, key=lambda backward: times[backward][0])
        later = take_turns({"ours": mine, faster: peers[faster]}, rounds - 1)
    both = {name: spread(times[name] + later[name]) for name in ("ours", faster)}
    ratio = both[faster].median / both["ours"].median
    note = f"{both['ours'].median:.3g} s against {both[faster].median:.3g} s, backward {faster}; {work.label}"
    details = {
        "seconds": {"ours": both["ours"]._asdict(), "peer": both[faster]._asdict()},
        "largest_difference": difference,
        "memory": memory,
    }
    return [Figure(row, "times the peer", ratio, "x", "at least", target, note, details)]


def large_images(row: str, target: float, rounds: int) -> list[Figure]:
    """Times the peer at 84x84 and one step, and times the convolutions at the machine's matrix rate."""
    work = Work(size=84, channels=3)
    figures = times_the_peer(row, work, target, rounds)
    seconds = figures[0].details["seconds"]["ours"]["median"]
    reached, possible = step_operations(work) / seconds / 1e9, gemm_gflops("float32")
    note = f"{reached:.0f} of {possible:.0f} GFLOP/s on the step's convolutions"
    name = "times its convolutions at the GEMM rate"
    return [*figures, Figure(row, name, possible / reached, "x", "at most", 1.4, note)]


def speed_and_memory(row: str, work: Work, target: float, rounds: int) -> list[Figure]:
    """Times the peer, task by task; and our peak memory beside its, each way, after the first step."""
    figures = times_the_peer(row, work, target, rounds, backwards=("per_task",))
    memory = dict(figures[0].details["memory"])
    with running(peer(work, "summed")) as summed:
        memory["summed"] = summed.ask("memory")
    mine = memory["ours"]
    for backward in BACKWARDS:
        other = memory[backward]
        note = f"{mine['peak']:.0f} of {other['peak']:.0f} MiB; imports {mine['imported']:.0f}, {other['imported']:.0f}"
        name = f"of the peer's memory, {backward}"
        figure = Figure(row, name, mine["peak"] / other["peak"], "x", "at most", 0.5, note)
        figures.append(figure if backward == "summed" else replace(figure, bound=""))
    return figures


def half_precision(row: str, rounds: int, has_amx: bool) -> list[Figure]:
    """Times the peer (in float32) with `mixed_bfloat16`; the target holds for processors with AMX."""
    work = Work(size=84, channels=3)
    with ExitStack() as stack:
        narrow = stack.enter_context(running(ours(replace(work, dtype_policy="mixed_bfloat16"))))
        wide = stack.enter_context(running(ours(work)))
        other = stack.enter_context(running(peer(work, "per_task")))
        times = take_turns({"narrow": narrow, "wide": wide, "peer": other}, rounds)
    median = {name: spread(seconds).median for name, seconds in times.items()}
    note = f"{median['narrow']:.3g} s; float32 {median['wide']:.3g} s; {'AMX' if has_amx else 'no AMX: no target'}"
    ratio = median["peer"] / median["narrow"]
    return [
        Figure(row, "times the peer", ratio, "x", "at least" if has_amx else "", 6.0 if has_amx else 0.0, note),
        Figure(row, "times our float32 step", median["wide"] / median["narrow"], "x"),
    ]

"""Processes that take turns, and the peer's agreement with us."""

import sys
from dataclasses import replace

import pytest

from benchmarks.performance import contestant
from benchmarks.performance.contestant import PEER_PYTHON, ContestantError, ours, peer, running, spread, take_turns
from benchmarks.performance.equality import check_equal
from benchmarks.performance.work import CORA, SINE_WAVES, Work

TOY = """
import json, sys
path, name = sys.argv[1:]
print(json.dumps({"ready": True, "first_seconds": 0.5}), flush=True)
for count, line in enumerate(sys.stdin, 1):
    if line == "nonsense\\n":
        print("this is no JSON", flush=True)
        continue
    if line == "end\\n":
        sys.exit(3)
    with open(path, "a") as file:
        file.write(name)
    print(json.dumps({"seconds": float(count)}), flush=True)
"""


def toy(path, name):
    return contestant.Contestant(name, [sys.executable, "-c", TOY, str(path), name])


def test_contestants_take_turns(tmp_path):
    order = tmp_path / "order"
    with running(toy(order, "a")) as a, running(toy(order, "b")) as b:
        assert take_turns({"a": a, "b": b}, 3, pause=0.0) == {"a": [1.0, 2.0, 3.0], "b": [1.0, 2.0, 3.0]}
    assert order.read_text() == "ababab" and a.first_seconds == 0.5
    assert spread([3.0, 1.0, 9.0]) == (3.0, 1.0, 9.0, 3)


@pytest.mark.parametrize(
    ("request_", "complaint"), [("nonsense", "one JSON object per line"), ("end", "ended with code 3")]
)
def test_a_contestant_that_does_not_answer_is_named(tmp_path, request_, complaint):
    with running(toy(tmp_path / "order", "a")) as a, pytest.raises(ContestantError, match=f"a .*{complaint}"):
        a.ask(request_)


@pytest.mark.slow
@pytest.mark.skipif(not PEER_PYTHON.is_file(), reason="build/peer-venv is absent: `make benchmark` makes it.")
@pytest.mark.parametrize(
    "work",
    [
        Work(size=28, channels=3, filters=4, tasks=2, steps=2),
        replace(SINE_WAVES, tasks=3),
        replace(CORA, nodes=60, edges=120, features=30, density=0.3, tasks=2, steps=2),
    ],
)
def test_the_peer_computes_the_same(work):
    with running(ours(work)) as mine, running(peer(work, "summed")) as all_, running(peer(work, "per_task")) as single:
        assert check_equal(mine, all_, single) < 1e-10

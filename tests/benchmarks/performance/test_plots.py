"""The scaling plots are drawn from the committed result, and only from a whole one."""

import json

from benchmarks.performance.plots import details
from benchmarks.performance.results import COMMITTED
from tests.helpers.programs import run_program


def test_the_committed_result_is_drawn(tmp_path):
    done = run_program("benchmarks.performance.plots", f"--drawing={tmp_path / 'scaling.png'}")
    assert done.code == 0, done.err
    assert (tmp_path / "scaling.png").read_bytes().startswith(b"\x89PNG")


def test_only_series_are_taken():
    series = details(json.loads(COMMITTED.read_text()))
    assert len(series) == 3
    for costs in series.values():
        assert all({"seconds", "peak"} <= set(cost) and int(count) > 0 for count, cost in costs.items())
    assert details({"figures": []}) == {}

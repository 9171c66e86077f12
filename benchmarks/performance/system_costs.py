"""What a meta-step, and a served request, of each member of the axes of methods cost beside MAML."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from rich.console import Console
from rich.table import Column, Table

from benchmarks.performance.configured import build_configured, load_configured
from benchmarks.performance.contestant import configured, running, spread, take_turns
from benchmarks.performance.system_scores import COST_COLUMNS
from benchmarks.serving.clients import GrpcClient
from benchmarks.serving.models import write_configured
from benchmarks.serving.paired_latency import Call, in_process, measure, through
from benchmarks.serving.server_process import serving
from cml_tf.experiments.configuration import flatten, load_config
from cml_tf.registry import Choice, ConfigurationError, members
from export.exporter import EXTRA, WARM_UP
from export.graph.specifications import DEFAULT
from export.requests.files import read_requests
from export.server.servable import Servable

_FIVE = {"adaptation.steps": 5, "adaptation.eval_steps": 5}


class Size(NamedTuple):
    """Of what is measured: words of a configuration's episodes, and the width of its learner."""

    episodes: str = "5way,5shot"
    filters: int = 64

    def source(self, words: str) -> str:
        """The configuration of a method."""
        return f"configs/glyphs.py:{words},{self.episodes}"

    def settings(self, words: str) -> dict[str, Any]:
        """What is set in it: five inner steps and the width, where there are any."""
        keys = dict(flatten(load_config(self.source(words)).to_dict()))
        return {key: value for key, value in {**_FIVE, "learner.filters": self.filters}.items() if key in keys}


def all_words() -> list[str]:
    """MAML, to which the others are compared; CML and ANIL; and beside MAML every member of the axes of methods."""
    usual = {key.default for key in Choice().all_keys().values()} | {"query_loss"}
    named = [name for axis in ("hypergradient", "update", "rule", "reducer") for name in members(axis)]
    named += [one.name for one in members("objective").values() if one.traits["slot"] == "outer"]
    return ["maml", "cml", "maml,anil", *(_allowed(name) for name in named if name not in usual)]


def _allowed(name: str) -> str:
    """A member's word beside MAML's, and that of a rule which it needs."""
    for rule in ("", *members("rule")):
        words = ",".join(filter(None, ("maml", rule, name)))
        try:
            load_configured(Size().source(words), Size().settings(words))
        except ConfigurationError as error:
            fault = error
        else:
            return words
    raise fault


Configured = Mapping[str, tuple[str, Mapping[str, Any]]]
"""By a method's words, its configuration and what is set in it."""


def step_cost(words: str, methods: Configured, rounds: int, console: Console) -> dict[str, float]:
    """Milliseconds of a meta-step (median), how many times MAML's in the same turns, and MiB over the imports."""
    console.print(f"{words} ...", style="dim")
    with ExitStack() as stack:
        sides = {
            name: stack.enter_context(running(configured(*methods[name]))) for name in dict.fromkeys(("maml", words))
        }
        take_turns(sides, 1)
        times = {name: spread(seconds).median for name, seconds in take_turns(sides, rounds).items()}
        memory = sides[words].ask("memory")
    return {
        "step_milliseconds": times[words] * 1e3,
        "times_maml": times[words] / times["maml"],
        "step_mebibytes": memory["peak"] - memory["imported"],
        "first_seconds": sides[words].first_seconds,
    }


def served_costs(methods: Configured, calls: int) -> dict[str, dict[str, float]]:
    """Milliseconds of a request that adapts and predicts (medians, in turns), and numbers in an adapted task."""
    with tempfile.TemporaryDirectory() as folder:
        versions = {words: Path(folder) / words.replace(",", "-") / "1" for words in methods}
        sizes = {
            words: write_configured(version, *build_configured(load_configured(*methods[words])))
            for words, version in versions.items()
        }
        with serving(list(versions.values())) as target:
            client, asked = GrpcClient(target.grpc), dict[str, Call]()
            for words, version in versions.items():
                servable, inputs = Servable(version), _whole_task(version)
                asked[f"in_process {words}"] = in_process(servable, DEFAULT, inputs)
                asked[f"grpc {words}"] = through(client, version.parent.name, DEFAULT, inputs)
            times = measure(asked, calls)
    return {
        words: {
            "in_process_milliseconds": float(np.median(times[f"in_process {words}"])) * 1e3,
            "grpc_milliseconds": float(np.median(times[f"grpc {words}"])) * 1e3,
            "adapted_numbers": sizes[words],
        }
        for words in methods
    }


def _whole_task(version: Path) -> dict[str, np.ndarray]:
    requests = read_requests(version / EXTRA / WARM_UP)
    return next(dict(inputs) for signature, inputs in requests if signature == DEFAULT)


def table(result: dict[str, Any]) -> Table:
    """The figures, to be read."""
    title = f"Beside MAML with five inner steps, {result['rounds']} steps each"
    drawn = Table(Column("method", no_wrap=True), *COST_COLUMNS.values(), title=title)
    for words, figures in result["methods"].items():
        cells = [f"{figures[name]:.3g}" if name in figures else "" for name in COST_COLUMNS]
        drawn.add_row(words, *cells)
    return drawn

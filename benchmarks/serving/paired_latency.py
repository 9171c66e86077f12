"""The same calls in process and through a server, timed in turns."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import numpy as np
from rich.table import Table

from benchmarks.serving.clients import Client, GrpcClient, RestClient
from benchmarks.serving.models import QUERIES, SHOTS, WAYS
from benchmarks.serving.questions import STATE, Arrays
from benchmarks.serving.server_process import Target
from export.exporter import EXTRA, WARM_UP
from export.graph.specifications import ADAPT, DEFAULT, PREDICT
from export.requests.files import read_requests
from export.server.servable import Servable

_SECONDS = 120.0
_WARM_UP = 3

Call = Callable[[], object]


def paired_calls(version: Path, target: Target) -> dict[str, Call]:
    """The calls by name, for a model that `target` serves as `images` from the directory `version`.

    Requests are encoded beforehand: what a client does before it sends is its own affair.
    """
    servable = Servable(version)
    whole = next(dict(inputs) for signature, inputs in read_requests(version / EXTRA / WARM_UP) if signature == DEFAULT)
    support = {name: array for name, array in whole.items() if name.startswith("support_")}
    outputs = sorted(servable.signatures[ADAPT].outputs)
    adapted = servable.run(ADAPT, support, outputs, _SECONDS)
    state: Arrays = {**{name: adapted[name] for name in STATE}, "query_inputs": whole["query_inputs"]}
    one = {**state, "query_inputs": whole["query_inputs"][:, :1]}
    kinds = {
        "adapt and predict": (DEFAULT, whole),
        "adapt": (ADAPT, support),
        "predict from adapted": (PREDICT, state),
        "predict one query from adapted": (PREDICT, one),
    }
    clients: dict[str, Client] = {"gRPC": GrpcClient(target.grpc), "REST": RestClient(target.rest)}
    calls: dict[str, Call] = {}
    for kind, (signature, inputs) in kinds.items():
        calls[f"in process, {kind}"] = in_process(servable, signature, inputs)
        for name, client in clients.items():
            calls[f"{name}, {kind}"] = through(client, "images", signature, inputs)
    return calls


def in_process(servable: Servable, signature: str, inputs: Arrays) -> Call:
    """A call without a server."""
    outputs = sorted(servable.signatures[signature].outputs)
    return lambda: servable.run(signature, inputs, outputs, _SECONDS)


def through(client: Client, model: str, signature: str, inputs: Arrays) -> Call:
    """A call of a served model; the request is encoded here, the answer decoded in the call."""
    message = client.encode(model, signature, inputs)
    return lambda: client.decode(client.send(model, message))


def measure(calls: dict[str, Call], count: int) -> dict[str, np.ndarray]:
    """Seconds of every call, `[count]` each, the calls taking turns."""
    times: dict[str, list[float]] = defaultdict(list)
    for turn in range(-_WARM_UP, count):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            if turn >= 0:
                times[name].append(time.perf_counter() - start)
    return {name: np.array(seconds) for name, seconds in times.items()}


def report(times: dict[str, np.ndarray]) -> dict:
    """Percentiles in milliseconds, and the two ratios that matter."""
    percentiles = {
        name: {f"p{share}": round(float(np.percentile(seconds, share)) * 1e3, 3) for share in (50, 95, 99)}
        for name, seconds in times.items()
    }
    in_process = times["in process, adapt and predict"]
    whole = times["gRPC, adapt and predict"]
    return {
        "ways": WAYS,
        "shots": SHOTS,
        "queries": WAYS * QUERIES,
        "calls": len(in_process),
        "milliseconds": percentiles,
        "grpc_overhead_at_p50": round(float(np.median(whole) / np.median(in_process)) - 1, 4),
        "rest_overhead_at_p50": round(
            float(np.median(times["REST, adapt and predict"]) / np.median(in_process)) - 1, 4
        ),
        "times_cheaper_from_adapted_state": round(
            float(np.median(whole) / np.median(times["gRPC, predict from adapted"])), 2
        ),
    }


def table(result: dict) -> Table:
    """The figures, to be read; `result` is a report with the number of filters."""
    title = (
        f"{WAYS} ways, {SHOTS} shots, {WAYS * QUERIES} queries, {result['filters']} filters, {result['calls']} calls"
    )
    drawn = Table("milliseconds", "p50", "p95", "p99", title=title)
    for name, row in result["milliseconds"].items():
        drawn.add_row(name, *(f"{row[share]:.1f}" for share in ("p50", "p95", "p99")))
    drawn.caption = (
        f"beside the call in process gRPC costs {result['grpc_overhead_at_p50']:+.1%}, REST "
        f"{result['rest_overhead_at_p50']:+.1%}; over gRPC, predicting from an adapted state is "
        f"{result['times_cheaper_from_adapted_state']:.1f} times cheaper than adapting again"
    )
    return drawn

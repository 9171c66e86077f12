"""Bytes, accuracy and time of adapted states: `python -m benchmarks.serving.small_states --workdir=RUN`.

Every state is asked about the same test episodes, in this process. Beside it what steps cost that are told of
(`adapt_bounded`). Prints a line a state, and one JSON object as the last line; `--pictures=FOLDER` draws support losses
step by step, and states by their bytes.
"""

from __future__ import annotations

import dataclasses
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from absl import flags
from matplotlib.figure import Figure

from cml_tf.experiments.runs import evaluation_method, load_run
from cml_tf.studies.pictures.style import BLUE, ORANGE, VERMILLION, house_style, new_figure, write_png
from cml_tf.system.command_line import run
from cml_tf.training.evaluator import confidence_interval
from export.graph.bounds import Bounds, own_rate
from export.graph.compact import STATES
from export.graph.exportable import Exportable
from export.graph.serving_module import ServingModule

_WORKDIR = flags.DEFINE_string("workdir", None, "Directory of a run of a classifier.", required=True)
_EPISODES = flags.DEFINE_integer("episodes", 200, "Test episodes.", 2)
_ROUNDS = flags.DEFINE_integer("rounds", 30, "Timed requests of each kind.", 3)
_PICTURES = flags.DEFINE_string("pictures", None, "Folder for support_losses.png and small_states.png.")
_STATE = ("adapted_state", "compact_state_bytes", "compact_scales", "model_fingerprint")
_FACTORS = (0.25, 1.0, 4.0)

Arrays = dict[str, np.ndarray]
Call = Callable[..., Arrays]


def main(arguments: list[str]) -> None:
    """Measures and prints."""
    del arguments
    experiment = load_run(Path(_WORKDIR.value))
    method = evaluation_method(experiment)
    model = Exportable(method, experiment.problem, experiment.data.value_range)
    batch = experiment.episodes("test").batch
    tasks = [_inputs(batch(position, 1)) for position in range(_EPISODES.value)]
    rows: list[dict[str, Any]] = []
    timed: dict[str, Callable[[], Any]] = {}
    whole = None
    for state in STATES:
        row, answers, calls = _measured(state, _caller(dataclasses.replace(model, state=state)), tasks)
        whole = answers if whole is None else whole
        rows.append({**row, "largest_difference": float(np.abs(answers - whole).max())})
        timed |= calls
    losses, timed["adapt_bounded"] = _told(model, tasks)
    times = _milliseconds(timed)
    for row in rows:
        row |= {kind: times[f"{row['state']} {kind}"] for kind in ("adapt", "predict")}
        print(_line(row))
    print(f"adapt_bounded: {times['adapt_bounded']:.1f} ms")
    print(json.dumps({"states": rows, "adapt_bounded": times["adapt_bounded"]}))
    if _PICTURES.value:
        write_png(_losses_figure(losses), Path(_PICTURES.value) / "support_losses.png")
        write_png(_states_figure(rows), Path(_PICTURES.value) / "small_states.png")


def _inputs(episode: Any) -> tuple[Arrays, Arrays, np.ndarray]:
    """Support set, queries and the classes of these."""
    support, query = episode.support, episode.query
    labels = support.targets.numpy().astype(np.int32)
    return (
        {"support_inputs": support.inputs.numpy(), "support_labels": labels},
        {"query_inputs": query.inputs.numpy()},
        query.targets.numpy()[0],
    )


def _caller(model: Exportable) -> Call:
    module = ServingModule(model)
    functions: dict[str, Any] = {}

    def call(signature: str, **inputs: Any) -> Arrays:
        if signature not in functions:
            functions[signature] = module.function(signature)
        outputs = functions[signature](**{name: tf.constant(value) for name, value in inputs.items()})
        return {name: value.numpy() for name, value in outputs.items()}

    return call


def _measured(
    state: str, call: Call, tasks: list[tuple[Arrays, Arrays, np.ndarray]]
) -> tuple[dict[str, Any], np.ndarray, dict[str, Callable[[], Any]]]:
    """Bytes and accuracy, all probabilities, and what is to be timed."""
    adapt, predict = ("adapt", "predict") if state == "float32" else ("adapt_compact", "predict_compact")
    scores, answers, found = [], [], {}
    for support, query, classes in tasks:
        adapted = call(adapt, **support)
        found = {name: adapted[name] for name in _STATE if name in adapted}
        answers.append(call(predict, **found, **query)["probabilities"])
        scores.append(float((answers[-1][0].argmax(-1) == classes).mean()))
    sent = {name: array for name, array in found.items() if name != "model_fingerprint"}
    row = {
        "state": state,
        "bytes": sum(len(array[0]) if array.dtype == object else array.nbytes for array in sent.values()),
        "accuracy": statistics.fmean(scores),
        "ci95": confidence_interval(np.array(scores)),
    }
    calls = {
        f"{state} adapt": lambda: call(adapt, **tasks[0][0]),
        f"{state} predict": lambda: call(predict, **found, **tasks[-1][1]),
    }
    return row, np.stack(answers), calls


def _told(
    model: Exportable, tasks: list[tuple[Arrays, Arrays, np.ndarray]]
) -> tuple[dict[float, list[float]], Callable[[], Any]]:
    """Mean support losses by rate, for twice the steps of training; and a request for those, to be timed."""
    own, steps = own_rate(model.rule), int(model.rule.steps or 0)
    rates = [factor * own for factor in _FACTORS]
    call = _caller(dataclasses.replace(model, bounds=Bounds(2 * steps, (rates[0], rates[-1]))))

    def ask(support: Arrays, steps: int, rate: float) -> Arrays:
        pace = {"steps": np.array([steps], np.int32), "rate": np.array([rate], np.float32)}
        return call("adapt_bounded", **support, **pace)

    def mean_losses(rate: float) -> list[float]:
        losses = [ask(support, 2 * steps, rate)["support_losses"][0] for support, _, _ in tasks[:50]]
        return np.mean(losses, axis=0).tolist()

    return {rate: mean_losses(rate) for rate in rates}, lambda: ask(tasks[0][0], -1, -1.0)


def _milliseconds(calls: dict[str, Callable[[], Any]]) -> dict[str, float]:
    """Medians over rounds in which all take turns: what else the machine does, it does to all of them."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(_ROUNDS.value):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            times[name].append(time.perf_counter() - start)
    return {name: 1000 * statistics.median(values) for name, values in times.items()}


def _line(row: dict[str, Any]) -> str:
    return (
        f"{row['state']} | {row['bytes']:,} bytes | {100 * row['accuracy']:.2f} ± {100 * row['ci95']:.2f} % | "
        f"{row['largest_difference']:.1e} | adapt {row['adapt']:.1f} ms | predict {row['predict']:.1f} ms"
    )


def _losses_figure(losses: dict[float, list[float]]) -> Figure:
    with house_style():
        figure = new_figure(5.2, 2.8)
        axes = figure.subplots()
        for colour, (rate, values) in zip((ORANGE, BLUE, VERMILLION), losses.items(), strict=True):
            axes.plot(range(len(values)), values, "o-", color=colour, markersize=3.5, label=f"rate {rate:g}")
        axes.set(title="Support loss, step by step", xlabel="inner steps", ylabel="mean support loss")
        axes.set_ylim(bottom=0)
        axes.legend()
    return figure


def _states_figure(rows: list[dict[str, Any]]) -> Figure:
    with house_style():
        figure = new_figure(5.2, 2.2)
        axes = figure.subplots()
        names = [row["state"] for row in rows]
        sizes = [row["bytes"] / 1000 for row in rows]
        axes.barh(names, sizes, color=BLUE, height=0.55)
        for place, (row, size) in enumerate(zip(rows, sizes, strict=True)):
            told = f" {100 * row['accuracy']:.2f} ± {100 * row['ci95']:.2f} %"
            axes.text(size, place, told, va="center", fontsize=9)
        axes.set(
            title="An adapted task: bytes, and accuracy from them", xlabel="kilobytes", xlim=(0, 1.45 * max(sizes))
        )
        axes.invert_yaxis()
        axes.grid(False, axis="y")
    return figure


if __name__ == "__main__":
    run(main)

"""A contestant: a process that builds, then makes one step each time it is asked.

Started by `benchmarks.performance.contestant`; the peers' processes speak the same protocol. Requests are lines on
standard input, each answered by one JSON line on standard output:

  step              makes one step: {"seconds": ...}
  memory            {"imported": ..., "now": ..., "peak": ...}, MiB resident
  write DIRECTORY   initial values and a small episode to `work.npz`, loss and meta-gradients to `ours.npz`, float64
  read DIRECTORY    takes `work.npz`, writes loss and meta-gradients to `peer.npz` (peers only)

The first line, when all is built: {"ready": true, "first_seconds": seconds of tracing and the first step}.
"""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from benchmarks.performance.building import build_episode, build_method, build_problem, build_step
from benchmarks.performance.configured import build_configured, load_configured
from benchmarks.performance.node_building import graph_arrays, random_graph
from benchmarks.performance.resident import resident
from benchmarks.performance.work import Work, from_json
from cml_tf.training.meta_gradient import meta_gradient
from cml_tf.training.method import Method
from export.graph.exportable import Exportable
from export.graph.serving_module import ServingModule


class StepOfOurs:
    """The meta-step."""

    def __init__(self, work: Work) -> None:
        self.work = work
        self.method: Method = build_method(work)
        self.step = build_step(self.method, work)
        self.episode = build_episode(work)

    def __call__(self) -> None:
        """One step, to its end."""
        self.step(self.episode).finite.numpy()

    def write(self, directory: Path) -> None:
        """Initial values, episode, loss and meta-gradients."""
        with double_precision():
            work = few_examples(self.work)
            method, episode = build_method(work), build_episode(work, np.float64)
            groups = method.trained_variables()
            values = {f"{group}/{i:02d}": v.numpy() for group, vs in groups.items() for i, v in enumerate(vs)}
            for name, part in {"support": episode.support, "query": episode.query}.items():
                values |= {f"{name}_inputs": part.inputs.numpy(), f"{name}_targets": part.targets.numpy()}
            if work.nodes:
                values |= graph_arrays(random_graph(work), np.float64)
            np.savez(directory / "work.npz", allow_pickle=False, **values)
            compiled = tf.function(lambda e, w: meta_gradient(method, e, w, work.task_chunk), autograph=False)
            result = compiled(episode, method.weights())
        gradients = {f"{group}/{i:02d}": g.numpy() for group, gs in result.gradients.items() for i, g in enumerate(gs)}
        np.savez(directory / "ours.npz", allow_pickle=False, loss=result.loss.numpy(), **gradients)


def few_examples(work: Work) -> Work:
    """The same model and inner loop on fewer examples, of a smaller graph if any, in double precision.

    In single precision, rounding moves an activation over the kink of a ReLU or a tie of a pool now and then, and the
    gradient jumps by a thousandth.
    """
    return replace(
        work,
        tasks=min(work.tasks, 2),
        shots=min(work.shots, 2),
        queries=min(work.queries, 3),
        dtype_policy="float64",
        nodes=min(work.nodes, 300),
        edges=min(work.edges, 900),
    )


@contextlib.contextmanager
def double_precision() -> Iterator[None]:
    """Keras in float64."""
    before = keras.config.floatx(), keras.config.dtype_policy()
    keras.config.set_floatx("float64")
    try:
        yield
    finally:
        keras.config.set_floatx(before[0])
        keras.config.set_dtype_policy(before[1])


class StepOfAConfiguration:
    """The meta-step of a configuration on random episodes of its shapes."""

    def __init__(self, source: str, settings: Mapping[str, Any]) -> None:
        trainer, self.episode = build_configured(load_configured(source, settings))
        self.step = trainer.meta_step

    def __call__(self) -> None:
        """One step, to its end."""
        self.step(self.episode).finite.numpy()


class ExportedCall:
    """Adapt-and-predict as exported: the default signature of a SavedModel that was written and loaded again."""

    def __init__(self, work: Work, directory: Path) -> None:
        method = build_method(work)
        served = Method.of(method.learner, method.rule, method.terms[:1])
        module = ServingModule(Exportable(served, build_problem(work), (0.0, 1.0)))
        name = tf.saved_model.DEFAULT_SERVING_SIGNATURE_DEF_KEY
        tf.saved_model.save(module, str(directory), signatures={name: module.function(name)})
        self.loaded = tf.saved_model.load(str(directory))
        self.signature = self.loaded.signatures[name]
        episode = build_episode(work)
        self.inputs = {
            "support_inputs": episode.support.inputs,
            "support_labels": episode.support.targets,
            "query_inputs": episode.query.inputs,
        }

    def __call__(self) -> None:
        """One call, to its end."""
        for answer in self.signature(**self.inputs).values():
            answer.numpy()


Contestant = StepOfOurs | StepOfAConfiguration | ExportedCall


def answer_requests(make: Callable[[], Contestant], imported: float) -> None:
    """Builds, makes the first step, and answers until standard input ends."""
    start = time.perf_counter()
    contestant = make()
    contestant()
    _say({"ready": True, "first_seconds": time.perf_counter() - start})
    for line in sys.stdin:
        request, _, argument = line.strip().partition(" ")
        if request == "step":
            start = time.perf_counter()
            contestant()
            _say({"seconds": time.perf_counter() - start})
        elif request == "memory":
            _say({"imported": imported, **resident()})
        elif request == "write" and isinstance(contestant, StepOfOurs):
            contestant.write(Path(argument))
            # The first step after others were traced takes up to a second more, and is nobody's cost in training.
            contestant()
            _say({"written": argument})
        else:
            raise ValueError(f"a request to a contestant must be step, memory or write, received {line!r}.")


def _say(answer: dict) -> None:
    print(json.dumps(answer), flush=True)


def main() -> None:
    """Answers requests; arguments: `step WORK`, `exported WORK DIRECTORY` or `configured SOURCE SETTINGS`."""
    imported = resident()["now"]
    kind, *given = sys.argv[1:]
    makers: dict[str, Callable[[], Contestant]] = {
        "step": lambda: StepOfOurs(from_json(given[0])),
        "exported": lambda: ExportedCall(from_json(given[0]), Path(given[1])),
        "configured": lambda: StepOfAConfiguration(given[0], json.loads(given[1])),
    }
    answer_requests(makers[kind], imported)


if __name__ == "__main__":
    main()

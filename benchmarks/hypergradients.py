"""Time and memory of each hypergradient against inner steps: `python -m benchmarks.hypergradients --picture=FILE`.

The lower problem is the loss of a small net with a penalty on each layer, the upper one the loss on other examples, by
the logarithms of those penalties: of a convolutional net (28 x 28, 25 and 75 images) for all hypergradients but the
adjoint ones, or with `--problem=perceptron` of 66,561 weights (50 and 50 points) for those. Every hypergradient works
in a process of its own, which traces it once: the number of steps is an argument of the graph. Time is that of the
processor, summed over its cores, which other programs on the machine disturb the least. Prints a Markdown table, and
draws it where that is asked for.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from absl import flags

from benchmarks.performance.resident import resident
from cml_tf.adaptation.hypergradients.reverse import repeated
from cml_tf.bilevel import BilevelProblem, DescentAggregation, UpperGradient, hypergradient, make_solver
from cml_tf.studies.pictures.style import colours, house_style, new_figure, write_png
from cml_tf.system.command_line import fail, run

SOLVERS: dict[str, tuple[str, dict[str, Any]]] = {
    "reverse": ("reverse", {}),
    "reverse_rematerialised": ("reverse_rematerialised", {}),
    "truncated, 5 kept": ("truncated", {"kept_steps": 5}),
    "forward, 4 numbers": ("forward", {}),
    "finite_difference": ("finite_difference", {}),
    # All iterations at every call: such a proximity outweighs where the loss curves downwards.
    "implicit, 20 iterations": ("implicit", {"proximity": 30.0, "iterations": 20, "tolerance": 0.0}),
    "first_order": ("first_order", {}),
    "descent aggregation": ("reverse_rematerialised", {}),
}
# What an adjoint without a graph must cost at least: first order, and a Hessian-vector product for each step.
LEAST = "first_order, and a product a step"
ADJOINTS: dict[str, tuple[str, dict[str, Any]]] = {
    "first_order": ("first_order", {}),
    LEAST: ("first_order", {}),
    "adjoint_discrete": ("adjoint_discrete", {}),
    "adjoint_discrete, every 25th stored": ("adjoint_discrete", {"stored_every": 25}),
    "adjoint_heun, euler": ("adjoint_heun", {"solver": "euler"}),
    "adjoint_heun": ("adjoint_heun", {}),
    "adjoint_heun, every 25th stored": ("adjoint_heun", {"stored_every": 25}),
    "adjoint_backsolve": ("adjoint_backsolve", {}),
    "reverse": ("reverse", {}),
}
FILTERS, WAYS = 32, 5
_PROBLEM = flags.DEFINE_enum("problem", "convolutional", ["convolutional", "perceptron"], "The net.")
_STEPS = flags.DEFINE_list("steps", ["1", "2", "5", "10", "20", "50", "100"], "Numbers of inner steps, ascending.")
_REPEATS = flags.DEFINE_integer("repeats", 3, "Calls of each, of which the cheapest counts.", 1)
_DRAWING = flags.DEFINE_string("picture", None, "PNG file of the drawing.")
_ONE = flags.DEFINE_enum("one", None, [*SOLVERS, *ADJOINTS], "Internal: what one process measures.")
Costs = dict[str, dict[str, float]]


def main(arguments: list[str]) -> None:
    """Measures each in a process of its own, or one in this."""
    del arguments
    counts = [int(count) for count in _STEPS.value]
    if counts != sorted(set(counts)) or counts[0] < 1:
        fail(f"--steps must ascend from 1 or more, received {','.join(_STEPS.value)}.")
    if _ONE.value:
        print(json.dumps(measured(_PROBLEM.value, _ONE.value, counts, _REPEATS.value)))
        return
    solvers, make, _ = PROBLEMS[_PROBLEM.value]
    state = sum(part.shape.num_elements() * part.dtype.size for part in make()[1]) / 2**20
    load = [f"{os.getloadavg()[0]:.2f}"]
    found = {name: _in_a_process(name) for name in solvers}
    load.append(f"{os.getloadavg()[0]:.2f}")
    print(f"{os.cpu_count()} cores, load before and after: {', '.join(load)}; a state is {state:.3f} MiB")
    for what in ("milliseconds", "MiB"):
        print(f"\n| {what} | {' | '.join(map(str, counts))} |\n|{'---|' * (len(counts) + 1)}")
        for name, costs in found.items():
            print(f"| {name} | {' | '.join(f'{costs[str(count)][what]:.0f}' for count in counts)} |")
    if _DRAWING.value:
        draw(found, Path(_DRAWING.value))


def _in_a_process(name: str) -> Costs:
    program = [sys.executable, "-m", "benchmarks.hypergradients", f"--one={name}", f"--problem={_PROBLEM.value}"]
    program += [f"--steps={','.join(_STEPS.value)}", f"--repeats={_REPEATS.value}"]
    done = subprocess.run(program, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def measured(net: str, name: str, counts: list[int], repeats: int) -> Costs:
    """By number of steps: milliseconds of a call, and MiB of its peak over what was there before the first."""
    solvers, make, rate = PROBLEMS[net]
    solver, options = solvers[name]
    aggregation = DescentAggregation(0.5) if name == "descent aggregation" else None
    problem, y = make()
    chosen = make_solver(solver, **options)

    @tf.function(autograph=False)
    def call(x: tf.Tensor, steps: tf.Tensor) -> tuple[UpperGradient, list[tf.Tensor]]:
        found = hypergradient(problem, x, y, steps, rate, chosen, aggregation=aggregation)
        return found, multiplied(problem, x, found.final, steps) if name == LEAST else []

    x = tf.fill([len(y) // 2], -4.0)
    compiled = call.get_concrete_function(x, tf.constant(1))
    before, found = resident()["now"], {}
    compiled(x, tf.constant(1))
    for count in counts:
        seconds = []
        for _ in range(repeats):
            start = time.process_time()
            result, _ = compiled(x, tf.constant(count))
            assert np.isfinite(result.of_x.numpy()).all()
            seconds.append(time.process_time() - start)
        # More steps never take less, so that the peak of the process so far is that of this count.
        found[str(count)] = {"milliseconds": 1e3 * min(seconds), "MiB": resident()["peak"] - before}
    return found


def multiplied(problem: BilevelProblem, x: tf.Tensor, y: list[tf.Tensor], times: tf.Tensor) -> list[tf.Tensor]:
    """A vector multiplied by the lower loss' Hessian again and again, brought to length 1 each time."""

    def product(vector: list[tf.Tensor]) -> list[tf.Tensor]:
        with tf.GradientTape() as outer:
            outer.watch(y)
            with tf.GradientTape() as inner:
                inner.watch(y)
                loss = problem.lower(y, x)
            slopes = inner.gradient(loss, y)
        found = outer.gradient(slopes, y, output_gradients=vector)
        length = tf.linalg.global_norm(found)
        return [part / length for part in found]

    return repeated(product, [tf.ones_like(part) for part in y], times)


def convolutional() -> tuple[BilevelProblem, list[tf.Tensor]]:
    """The problem, and the net's initial parameters: kernel and bias of each of four layers."""
    generator = np.random.default_rng(0)
    shapes = [(3, 3, 1, FILTERS), (3, 3, FILTERS, FILTERS), (3, 3, FILTERS, FILTERS), (9 * FILTERS, WAYS)]
    y = []
    for shape in shapes:
        scale = np.sqrt(2 / np.prod(shape[:-1]))
        y += [tf.constant(scale * generator.standard_normal(shape), tf.float32), tf.zeros(shape[-1:])]

    def images(count: int) -> tuple[tf.Tensor, tf.Tensor]:
        return tf.constant(generator.random((count, 28, 28, 1), np.float32)), tf.constant(np.arange(count) % WAYS)

    def loss(y: list[tf.Tensor], examples: tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
        hidden, labels = examples
        for kernel, bias in zip(y[:6:2], y[1:6:2], strict=True):
            hidden = tf.nn.max_pool2d(tf.nn.relu(tf.nn.conv2d(hidden, kernel, 1, "SAME") + bias), 2, 2, "VALID")
        outputs = tf.reshape(hidden, [hidden.shape[0], -1]) @ y[6] + y[7]
        return tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, outputs))

    support, query = images(25), images(75)

    return BilevelProblem(lambda y, x: loss(y, support) + _penalty(y, x), lambda y, x: loss(y, query)), y


def perceptron() -> tuple[BilevelProblem, list[tf.Tensor]]:
    """A regression by 1-256-256-1 with tanh, likewise."""
    generator = np.random.default_rng(0)
    y = []
    for shape in ((1, 256), (256, 256), (256, 1)):
        y += [tf.constant(generator.standard_normal(shape) / np.sqrt(shape[0]), tf.float32), tf.zeros(shape[-1:])]

    def loss(y: list[tf.Tensor], points: tf.Tensor) -> tf.Tensor:
        hidden = points
        for kernel, bias in _pairs(y[:4]):
            hidden = tf.tanh(hidden @ kernel + bias)
        return tf.reduce_mean(tf.square(hidden @ y[4] + y[5] - tf.sin(points)))

    support, query = (tf.constant(generator.uniform(-5, 5, (50, 1)), tf.float32) for _ in range(2))
    return BilevelProblem(lambda y, x: loss(y, support) + _penalty(y, x), lambda y, x: loss(y, query)), y


def _penalty(y: list[tf.Tensor], x: tf.Tensor) -> tf.Tensor:
    lengths = [tf.reduce_sum(tf.square(kernel)) + tf.reduce_sum(tf.square(bias)) for kernel, bias in _pairs(y)]
    return tf.tensordot(tf.exp(x), tf.stack(lengths), 1) / 2


PROBLEMS = {"convolutional": (SOLVERS, convolutional, 0.05), "perceptron": (ADJOINTS, perceptron, 1e-4)}
"""By name: what is measured of it, what makes it, and the rate of its steps."""


def _pairs(y: list[tf.Tensor]) -> Any:
    return zip(y[::2], y[1::2], strict=True)


def draw(found: dict[str, Costs], path: Path) -> None:
    """Time and memory side by side, both axes logarithmic."""
    with house_style():
        figure = new_figure(10, 4.5)
        for axes, what, title in zip(
            figure.subplots(1, 2), ("milliseconds", "MiB"), ("Time of the processor", "Peak memory"), strict=True
        ):
            for place, ((name, costs), colour) in enumerate(
                zip(found.items(), [*colours(list(found)).values()], strict=True)
            ):
                counts = sorted(map(int, costs))
                values = [costs[str(count)][what] for count in counts]
                axes.plot(counts, values, "o-" if place < 5 else "s--", color=colour, label=name, markersize=4)
            axes.set(title=title, xlabel="inner steps", ylabel=f"{what} a gradient", xscale="log", yscale="log")
        figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside right center")
    write_png(figure, path)


if __name__ == "__main__":
    run(main)

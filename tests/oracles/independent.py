"""The equations of tests in this folder in JAX, by diffrax and optimistix: `python independent.py NAME INPUTS OUTPUTS`.

It runs in an environment of its own (`make oracles`), which has no TensorFlow and nothing of this project. Each
function takes arrays by name and gives arrays by name, all in double precision.
"""

from __future__ import annotations

import sys

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import optimistix

jax.config.update("jax_enable_x64", True)
_SHARP = diffrax.PIDController(rtol=1e-11, atol=1e-13)


def gradient_flow(rows, kernel, bias, labels, horizon, of_kernel, of_bias):
    """The layer W, b after dW/dt = -dL/dW, db/dt = -dL/db, and the derivatives of <of_kernel, W> + <of_bias, b>."""

    def loss(layer, rows):
        logits = rows @ layer[0] + layer[1]
        return -jnp.mean(jnp.sum(labels * jax.nn.log_softmax(logits), -1))

    def end(rows, kernel, bias, horizon):
        # Over the unit of time, so that the horizon is a number like others.
        def slope(time, layer, arguments):
            rows, horizon = arguments
            return jax.tree.map(lambda part: -horizon * part, jax.grad(loss)(layer, rows))

        solved = diffrax.diffeqsolve(
            diffrax.ODETerm(slope),
            diffrax.Dopri8(),
            0.0,
            1.0,
            0.01,
            (kernel, bias),
            (rows, horizon),
            stepsize_controller=_SHARP,
            adjoint=diffrax.ForwardMode(),
            max_steps=10_000,
        )
        return solved.ys[0][0], solved.ys[1][0]

    def measured(*arguments):
        kernel, bias = end(*arguments)
        return jnp.sum(of_kernel * kernel) + jnp.sum(of_bias * bias)

    arguments = (rows, kernel, bias, horizon)
    names = ("rows", "kernel", "bias", "horizon")
    derivatives = jax.jacfwd(measured, argnums=(0, 1, 2, 3))(*arguments)
    moved = dict(zip(("moved_kernel", "moved_bias"), end(*arguments), strict=True))
    return moved | {f"of_{name}": one for name, one in zip(names, derivatives, strict=True)}


def net(layers, points):
    """A tanh net whose layers are kernel_0, bias_0, kernel_1 and so on, the last one without tanh."""
    last = len(layers) // 2 - 1
    for number in range(last + 1):
        points = points @ layers[f"kernel_{number}"] + layers[f"bias_{number}"]
        points = points if number == last else jnp.tanh(points)
    return points


def adjoint_flow(inputs, targets, queries, answers, **given):
    """A tanh net's layers after dy/dt = -times * dL/dy over the unit of time, and the query loss' gradients.

    Both losses are mean squared errors. `times_kernel_0` and so on are of the layers' shapes. The gradients are those
    of what the solver computes, exactly, and not by an adjoint equation.
    """
    layers = {name: given[name] for name in given if not name.startswith("times_")}

    def error(layers, points, wanted):
        return jnp.mean(jnp.square(net(layers, points) - wanted))

    def end(layers, times):
        def slope(time, layers, times):
            return jax.tree.map(lambda own, part: -own * part, times, jax.grad(error)(layers, inputs, targets))

        solved = diffrax.diffeqsolve(
            diffrax.ODETerm(slope),
            diffrax.Dopri8(),
            0.0,
            1.0,
            0.01,
            layers,
            times,
            stepsize_controller=_SHARP,
            adjoint=diffrax.RecursiveCheckpointAdjoint(),
            max_steps=10_000,
        )
        return jax.tree.map(lambda over_time: over_time[0], solved.ys)

    times = {name: given[f"times_{name}"] for name in layers}
    derivatives = jax.grad(lambda *both: error(end(*both), queries, answers), argnums=(0, 1))(layers, times)
    made = {f"moved_{name}": one for name, one in end(layers, times).items()}
    made |= {f"of_{name}": one for name, one in derivatives[0].items()}
    return made | {f"of_times_{name}": one for name, one in derivatives[1].items()}


def minimum(inputs, labels, queries, answers, weights, decay, kernel, bias, proximity):
    """The layer that minimises a weighted, penalised cross-entropy near a layer, and gradients of its query loss.

    `proximity / 2` times the squared distance to `kernel` and `bias` draws it there. The gradients, of weights, decay,
    kernel and bias, are optimistix's by implicit differentiation, with a direct solve.
    """

    def losses(layer, points, labels):
        return -jnp.sum(labels * jax.nn.log_softmax(points @ layer[0] + layer[1]), -1)

    def lower(layer, arguments):
        weights, decay, start = arguments
        lengths = sum(jnp.sum(jnp.square(part)) for part in layer)
        away = sum(jnp.sum(jnp.square(part - own)) for part, own in zip(layer, start, strict=True))
        own = jnp.mean(jax.nn.sigmoid(weights) * losses(layer, inputs, labels))
        return own + (jnp.exp(decay) * lengths + proximity * away) / 2

    def end(*arguments):
        newton = optimistix.Newton(rtol=1e-13, atol=1e-13)
        solved = optimistix.root_find(jax.grad(lower), newton, arguments[2], arguments, max_steps=100)
        return solved.value

    def upper(*arguments):
        return jnp.mean(losses(end(*arguments), queries, answers))

    arguments = (weights, decay, (kernel, bias))
    of_weights, of_decay, of_start = jax.grad(upper, argnums=(0, 1, 2))(*arguments)
    moved = dict(zip(("moved_kernel", "moved_bias"), end(*arguments), strict=True))
    found = {"of_weights": of_weights, "of_decay": of_decay, "of_kernel": of_start[0], "of_bias": of_start[1]}
    return moved | found


def tangent_kernel(inputs, targets, queries, horizon, of_answers, **layers):
    """A tanh net's answers after the flow of its linearisation, and the derivatives of <of_answers, answers>.

    The Jacobians are JAX's. The integral of exp(-s H) over the time is a block of a larger exponential (Van Loan 1978),
    without eigenvalues.
    """

    def slopes(layers, points):
        tree = jax.jacrev(net)(layers, points)
        size = points.shape[0] * targets.shape[1]
        return jnp.concatenate([tree[name].reshape(size, -1) for name in sorted(tree)], 1)

    def answers(layers):
        jacobian = slopes(layers, inputs)
        gram, cross = jacobian @ jacobian.T, slopes(layers, queries) @ jacobian.T

        size = len(gram)
        zero, one = jnp.zeros((size, size)), jnp.eye(size)
        integral = jax.scipy.linalg.expm(horizon * jnp.block([[-gram, one], [zero, zero]]))[:size, size:]
        made = net(layers, queries)
        return made - (cross @ integral @ (net(layers, inputs) - targets).ravel()).reshape(made.shape)

    derivatives = jax.grad(lambda layers: jnp.sum(of_answers * answers(layers)))(layers)
    return {"answers": answers(layers)} | {f"of_{name}": one for name, one in derivatives.items()}


FUNCTIONS = {function.__name__: function for function in (gradient_flow, adjoint_flow, minimum, tangent_kernel)}


def main():
    """Reads, computes, writes."""
    name, source, target = sys.argv[1:]
    with np.load(source, allow_pickle=False) as arrays:
        given = {key: jnp.asarray(arrays[key]) for key in arrays.files}
    made = FUNCTIONS[name](**given)
    np.savez(target, allow_pickle=False, **{key: np.asarray(value) for key, value in made.items()})


if __name__ == "__main__":
    main()

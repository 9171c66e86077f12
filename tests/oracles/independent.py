"""The equations of tests in this folder in JAX, by diffrax: `python independent.py NAME INPUTS.npz OUTPUTS.npz`.

It runs in an environment of its own (`make oracles`), which has no TensorFlow and nothing of this project. Each
function takes arrays by name and gives arrays by name, all in double precision.
"""

from __future__ import annotations

import sys

import diffrax
import jax
import jax.numpy as jnp
import numpy as np

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


def main():
    """Reads, computes, writes."""
    name, source, target = sys.argv[1:]
    with np.load(source, allow_pickle=False) as arrays:
        given = {key: jnp.asarray(arrays[key]) for key in arrays.files}
    made = {"gradient_flow": gradient_flow}[name](**given)
    np.savez(target, allow_pickle=False, **{key: np.asarray(value) for key, value in made.items()})


if __name__ == "__main__":
    main()

"""CML on a multilayer perceptron, written out in NumPy: no automatic differentiation and nothing of cml_tf.

The inner gradient is back-propagation by hand. The meta-gradient goes back through the inner steps with exact
Hessian-vector products by Pearlmutter's R-operator (Neural Computation 6(1), 1994): for one step
theta' = theta - alpha * grad L(theta), the vector v = dJ/dtheta' becomes v - alpha * H(theta) v.

A network is a list of (kernel, bias); tanh after every layer but the last; the loss is the mean squared error.
"""

from __future__ import annotations

import numpy as np

Network = list[tuple[np.ndarray, np.ndarray]]


def forward(network: Network, inputs: np.ndarray) -> list[np.ndarray]:
    """The input and every layer's output; the last one is linear."""
    values = [inputs]
    for position, (kernel, bias) in enumerate(network):
        linear = values[-1] @ kernel + bias
        values.append(linear if position == len(network) - 1 else np.tanh(linear))
    return values


def mean_squared_error(network: Network, inputs: np.ndarray, targets: np.ndarray) -> float:
    """The loss."""
    return float(np.mean((forward(network, inputs)[-1] - targets) ** 2))


def gradient(network: Network, inputs: np.ndarray, targets: np.ndarray) -> tuple[Network, np.ndarray]:
    """Gradient of the loss, and with respect to the inputs."""
    values = forward(network, inputs)
    return backward(network, values, 2.0 * (values[-1] - targets) / targets.size)


def backward(network: Network, values: list[np.ndarray], upstream: np.ndarray) -> tuple[Network, np.ndarray]:
    """Back-propagation of `upstream`, the derivative with respect to the last layer's output."""
    gradients: Network = []
    for position in reversed(range(len(network))):
        kernel, _ = network[position]
        gradients.insert(0, (values[position].T @ upstream, upstream.sum(0)))
        upstream = upstream @ kernel.T
        if position:
            upstream = upstream * (1.0 - values[position] ** 2)
    return gradients, upstream


def hessian_times(network: Network, direction: Network, inputs: np.ndarray, targets: np.ndarray) -> Network:
    """The Hessian of the loss times a direction: back-propagation, differentiated along that direction."""
    values = forward(network, inputs)
    moved = [np.zeros_like(inputs)]
    last = len(network) - 1
    for position, ((kernel, _), (along_kernel, along_bias)) in enumerate(zip(network, direction, strict=True)):
        linear = moved[-1] @ kernel + values[position] @ along_kernel + along_bias
        moved.append(linear if position == last else linear * (1.0 - values[position + 1] ** 2))
    upstream, moved_upstream = 2.0 * (values[-1] - targets) / targets.size, 2.0 * moved[-1] / targets.size
    result: Network = []
    for position in reversed(range(len(network))):
        (kernel, _), (along_kernel, _) = network[position], direction[position]
        of_kernel = moved[position].T @ upstream + values[position].T @ moved_upstream
        result.insert(0, (of_kernel, moved_upstream.sum(0)))
        below, moved_below = upstream @ kernel.T, moved_upstream @ kernel.T + upstream @ along_kernel.T
        slope = 1.0 - values[position] ** 2
        upstream = below * slope
        moved_upstream = moved_below * slope - 2.0 * below * values[position] * moved[position]
    return result


def combine(left: Network, factor: float, right: Network) -> Network:
    """`left + factor * right`."""
    return [(k + factor * dk, b + factor * db) for (k, b), (dk, db) in zip(left, right, strict=True)]


def task_gradient(
    learner: Network, co_learner: Network, task: tuple[np.ndarray, ...], rate: float, steps: int, gamma: float
) -> tuple[float, float, Network, Network]:
    """Query loss, co-learner loss, and the gradient of `query + gamma * co` for learner and co-learner."""
    support_inputs, support_targets, query_inputs, query_targets = task
    path = [learner]
    for _ in range(steps):
        path.append(combine(path[-1], -rate, gradient(path[-1], support_inputs, support_targets)[0]))
    adapted = path[-1]
    values = forward(adapted, query_inputs)
    features = values[-2]
    of_adapted, _ = gradient(adapted, query_inputs, query_targets)
    of_co_learner, of_features = gradient(co_learner, features, query_targets)
    # The features are the extractor's last output: its own tanh comes first on the way back.
    extractor, upstream = adapted[:-1], gamma * of_features * (1.0 - features**2)
    of_extractor, _ = backward(extractor, values[:-1], upstream)
    vector = [*combine(of_adapted[:-1], 1.0, of_extractor), of_adapted[-1]]
    for network in reversed(path[:-1]):
        vector = combine(vector, -rate, hessian_times(network, vector, support_inputs, support_targets))
    losses = (
        mean_squared_error(adapted, query_inputs, query_targets),
        mean_squared_error(co_learner, features, query_targets),
    )
    return *losses, vector, [(gamma * kernel, gamma * bias) for kernel, bias in of_co_learner]


class Adam:
    """Adam as in its paper, with the bias corrections folded into the rate (Kingma and Ba 2015, end of section 2)."""

    def __init__(self, rate: float, first: float = 0.9, second: float = 0.999, epsilon: float = 1e-7) -> None:
        self.rate, self.first, self.second, self.epsilon = rate, first, second, epsilon
        self.step = 0
        self.moments: list[tuple[np.ndarray, np.ndarray]] = []

    def apply(self, values: list[np.ndarray], gradients: list[np.ndarray]) -> list[np.ndarray]:
        """The values after one step."""
        if not self.moments:
            self.moments = [(np.zeros_like(value), np.zeros_like(value)) for value in values]
        self.step += 1
        rate = self.rate * np.sqrt(1.0 - self.second**self.step) / (1.0 - self.first**self.step)
        self.moments = [
            (self.first * mean + (1.0 - self.first) * g, self.second * square + (1.0 - self.second) * g**2)
            for (mean, square), g in zip(self.moments, gradients, strict=True)
        ]
        return [
            value - rate * mean / (np.sqrt(square) + self.epsilon)
            for value, (mean, square) in zip(values, self.moments, strict=True)
        ]


def flat(network: Network) -> list[np.ndarray]:
    """Kernels and biases in order."""
    return [array for pair in network for array in pair]


def unflat(arrays: list[np.ndarray]) -> Network:
    """The inverse of `flat`."""
    return list(zip(arrays[::2], arrays[1::2], strict=True))

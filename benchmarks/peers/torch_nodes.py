"""The CML step on the nodes of a graph in PyTorch, as published code of few-shot node classification is written.

A GCN of two layers, `A (X W) + b` with `torch.sparse.mm` over the whole graph in each forward pass of each task and
inner step, dense features, of which the rows of the episode are then taken; X is not propagated beforehand. See
`torch_cml`, whose step, protocol and arguments these are:

  python -m benchmarks.peers.torch_nodes WORK --backward=summed|per_task
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from benchmarks.peers.torch_cml import main

_HIDDEN = 16


class NodeModel:
    """GCN 16-16 with a linear head; the co-learner, 16-16-ways, on the second layer's outputs.

    Args:
      work: see `benchmarks.performance.work.Work`.
      arrays: the graph's `edges` `[edges, 2]` and `features` `[nodes, features]`; None for a random graph.
    """

    def __init__(self, work: dict[str, Any], arrays: Any) -> None:
        self.work = work
        self.values = {
            "learner": _layers(work["features"], _HIDDEN, _HIDDEN, work["ways"]),
            "co_learner": _layers(_HIDDEN, _HIDDEN, work["ways"]),
        }
        edges, features = _random_graph(work) if arrays is None else (arrays["edges"], arrays["features"])
        self.x = torch.from_numpy(features)
        self.adjacency = normalised_adjacency(edges, len(features), self.x.dtype)

    def features(self, inputs: torch.Tensor, parameters: list[torch.Tensor]) -> torch.Tensor:
        """The second layer's outputs of the nodes `[examples]`."""
        hidden = F.relu(torch.sparse.mm(self.adjacency, self.x @ parameters[0]) + parameters[1])
        return (torch.sparse.mm(self.adjacency, hidden @ parameters[2]) + parameters[3])[inputs]

    def head(self, features: torch.Tensor, parameters: list[torch.Tensor]) -> torch.Tensor:
        """Linear."""
        return features @ parameters[-2] + parameters[-1]

    def co_learner(self, features: torch.Tensor, parameters: list[torch.Tensor]) -> torch.Tensor:
        """One hidden layer, then linear."""
        return self.head(F.relu(features @ parameters[0] + parameters[1]), parameters)

    def loss(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Cross-entropy."""
        return F.cross_entropy(outputs, targets)

    def from_ours(self, value: np.ndarray) -> torch.Tensor:
        """Kernels are `[in, out]` here too."""
        return torch.from_numpy(value)

    def to_ours(self, value: np.ndarray) -> np.ndarray:
        """The inverse of `from_ours`."""
        return value

    def episode(self, part: str, count: int, arrays: Any) -> tuple[torch.Tensor, torch.Tensor]:
        """Node numbers and labels `[tasks, examples]`; random without arrays."""
        if arrays is not None:
            return tuple(torch.from_numpy(arrays[f"{part}_{name}"].astype(np.int64)) for name in ("inputs", "targets"))
        labels = torch.arange(self.work["ways"]).repeat_interleave(count).repeat(self.work["tasks"], 1)
        return torch.randint(self.work["nodes"], labels.shape), labels


def normalised_adjacency(edges: np.ndarray, nodes: int, dtype: torch.dtype) -> torch.Tensor:
    """D^-1/2 (A + I) D^-1/2 as a coalesced sparse tensor, of undirected edges that occur once."""
    loops = np.arange(nodes).repeat(2).reshape(-1, 2)
    places = torch.from_numpy(np.concatenate([edges, edges[:, ::-1], loops]).T.copy())
    scales = torch.bincount(places[0], minlength=nodes).to(dtype).rsqrt()
    values = scales[places[0]] * scales[places[1]]
    return torch.sparse_coo_tensor(places, values, (nodes, nodes), check_invariants=True).coalesce()


def _random_graph(work: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    edges = np.sort(generator.integers(0, work["nodes"], (work["edges"], 2)), axis=1)
    edges = np.unique(edges[edges[:, 0] != edges[:, 1]], axis=0)
    features = generator.random((work["nodes"], work["features"]), np.float32)
    if work["density"] < 1.0:
        features *= generator.random(features.shape, np.float32) < work["density"]
    return edges, features


def _layers(*widths: int) -> list[torch.Tensor]:
    pairs = zip(widths, widths[1:], strict=False)
    return [value for a, b in pairs for value in (torch.randn(a, b) * (2 / (a + b)) ** 0.5, torch.zeros(b))]


if __name__ == "__main__":
    main(NodeModel)

"""What one meta-step works on, said in numbers that any framework can read."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace


@dataclass(frozen=True)
class Work:
    """A meta-step of CML: its model, its episodes and its inner loop.

    Attributes:
      learner: `conv4` (images, `size` x `size` x `channels`), `mlp` (sine waves, 1-40-40-1), `gcn` (nodes of a random
        graph, two graph convolutions of 16) or `sgc` (likewise, a linear layer of 16 on features propagated twice).
      size: edge of an image.
      channels: of an image.
      filters: of each block.
      tasks: in the meta-batch.
      ways: classes; 1 for `mlp`.
      shots: support examples a class.
      queries: query examples a class.
      steps: inner steps.
      rate: of the inner loop.
      hypergradient: name of one.
      task_chunk: tasks at a time, 0 for our choice.
      dtype_policy: `float32` or `mixed_bfloat16`.
      plain: whether layers are those of `benchmarks.peers.plain`.
      gamma: weight of the co-learner.
      nodes: of the graph, like the following; 0 where examples are no nodes.
      edges: undirected ones, drawn at random; loops and repetitions do not count, so there are a few less.
      features: of a node.
      density: share of the features that are not 0.
    """

    learner: str = "conv4"
    size: int = 28
    channels: int = 1
    filters: int = 64
    tasks: int = 4
    ways: int = 5
    shots: int = 5
    queries: int = 15
    steps: int = 1
    rate: float = 0.01
    hypergradient: str = "reverse"
    task_chunk: int = 0
    dtype_policy: str = "float32"
    plain: bool = False
    gamma: float = 1.0
    nodes: int = 0
    edges: int = 0
    features: int = 0
    density: float = 1.0

    @property
    def label(self) -> str:
        """Size and steps, as the rows name them."""
        shape = f"{self.size}x{self.size}x{self.channels}" if self.learner == "conv4" else self.learner
        if self.nodes:
            shape = f"{self.learner} on {self.nodes:,} nodes, {self.edges:,} edges, {self.features:,} features"
        return f"{shape}, {self.tasks} tasks, {self.steps} steps"


def to_json(work: Work) -> str:
    """One line."""
    return json.dumps(asdict(work))


def from_json(text: str) -> Work:
    """From what `to_json` made."""
    return Work(**json.loads(text))


SINE_WAVES = Work(learner="mlp", tasks=25, ways=1, shots=10, queries=10)
# Section 4.3 of the paper, on graphs of these sizes.
CORA = Work(
    learner="gcn",
    ways=2,
    queries=10,
    steps=20,
    rate=0.05,
    gamma=0.2,
    nodes=2708,
    edges=5278,
    features=1433,
    density=0.0127,
)
LARGE_GRAPH = replace(CORA, nodes=100_000, edges=1_000_000, features=128, density=1.0)

"""The CML step in PyTorch, as its papers' code is written: functional parameters, a loop over tasks.

Runs in an environment of its own (`requirements.txt` beside this file), so it imports nothing of cml_tf. It speaks the
protocol of `benchmarks.performance.child`:

  python -m benchmarks.peers.torch_cml WORK --backward=summed|per_task

`summed` adds the tasks' losses up and differentiates once, as the released code does, so all tasks' graphs are alive at
once; `per_task` differentiates each task's loss by itself.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

_BLOCKS, _CO_BLOCKS = 4, 2
_PER_BLOCK = 4  # kernel, bias, scale, shift


class ConvolutionalModel:
    """Four conv blocks and a head; the co-learner's two blocks and head on block 4's map."""

    def __init__(self, work: dict[str, Any]) -> None:
        self.work = work
        filters, ways = work["filters"], work["ways"]
        edge = work["size"] // 2**_BLOCKS
        self.head_shape = (edge, edge, filters, ways)
        learner = [t for i in range(_BLOCKS) for t in _block_values(work["channels"] if i == 0 else filters, filters)]
        co_learner = [t for _ in range(_CO_BLOCKS) for t in _block_values(filters, filters)]
        self.values = {"learner": learner + self._head_values(), "co_learner": co_learner + self._head_values()}

    def _head_values(self) -> list[torch.Tensor]:
        edge, _, filters, ways = self.head_shape
        return [torch.randn(ways, filters * edge * edge) * 0.02, torch.zeros(ways)]

    def features(self, inputs: torch.Tensor, parameters: list[torch.Tensor]) -> torch.Tensor:
        """Block 4's map before its pool."""
        for block in range(_BLOCKS):
            inputs = _block(inputs, parameters[_PER_BLOCK * block :])
            if block < _BLOCKS - 1:
                inputs = F.max_pool2d(inputs, 2)
        return inputs

    def head(self, features: torch.Tensor, parameters: list[torch.Tensor]) -> torch.Tensor:
        """Pool and linear layer."""
        return F.linear(F.max_pool2d(features, 2).flatten(1), parameters[-2], parameters[-1])

    def co_learner(self, features: torch.Tensor, parameters: list[torch.Tensor]) -> torch.Tensor:
        """Two blocks, then a head."""
        for block in range(_CO_BLOCKS):
            features = _block(features, parameters[_PER_BLOCK * block :])
        return self.head(features, parameters)

    def loss(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Cross-entropy."""
        return F.cross_entropy(outputs, targets)

    def from_ours(self, value: np.ndarray) -> torch.Tensor:
        """A kernel or vector in PyTorch's layout."""
        if value.ndim == 4:
            value = value.transpose(3, 2, 0, 1)
        elif value.ndim == 2:
            value = value.reshape(self.head_shape).transpose(3, 2, 0, 1).reshape(self.head_shape[-1], -1)
        return torch.from_numpy(np.ascontiguousarray(value))

    def to_ours(self, value: np.ndarray) -> np.ndarray:
        """The inverse of `from_ours`."""
        if value.ndim == 4:
            return value.transpose(2, 3, 1, 0)
        if value.ndim == 2:
            edge, _, filters, ways = self.head_shape
            return value.reshape(ways, filters, edge, edge).transpose(2, 3, 1, 0).reshape(-1, ways)
        return value

    def episode(self, part: str, count: int, arrays: Any) -> tuple[torch.Tensor, torch.Tensor]:
        """Inputs `[tasks, examples, channels, height, width]` and labels; random without arrays."""
        work = self.work
        if arrays is not None:
            inputs = np.ascontiguousarray(arrays[f"{part}_inputs"].transpose(0, 1, 4, 2, 3))
            return torch.from_numpy(inputs), torch.from_numpy(arrays[f"{part}_targets"].astype(np.int64))
        labels = torch.arange(work["ways"]).repeat_interleave(count).repeat(work["tasks"], 1)
        return torch.rand(*labels.shape, work["channels"], work["size"], work["size"]), labels


class PerceptronModel:
    """1-40-40-1 and its co-learner, 40-40-1, on the last hidden layer."""

    def __init__(self, work: dict[str, Any]) -> None:
        self.work = work
        widths = {"learner": (1, 40, 40, 1), "co_learner": (40, 40, 1)}
        self.values = {
            name: [t for a, b in zip(w, w[1:], strict=False) for t in (torch.randn(b, a) * 0.2, torch.zeros(b))]
            for name, w in widths.items()
        }

    def features(self, inputs: torch.Tensor, parameters: list[torch.Tensor]) -> torch.Tensor:
        """The last hidden layer."""
        return F.relu(F.linear(F.relu(F.linear(inputs, *parameters[:2])), *parameters[2:4]))

    def head(self, features: torch.Tensor, parameters: list[torch.Tensor]) -> torch.Tensor:
        """Linear."""
        return F.linear(features, parameters[-2], parameters[-1])

    def co_learner(self, features: torch.Tensor, parameters: list[torch.Tensor]) -> torch.Tensor:
        """One hidden layer, then linear."""
        return self.head(F.relu(F.linear(features, *parameters[:2])), parameters)

    def loss(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Mean squared error."""
        return F.mse_loss(outputs, targets)

    def from_ours(self, value: np.ndarray) -> torch.Tensor:
        """A kernel or vector in PyTorch's layout."""
        return torch.from_numpy(np.ascontiguousarray(value.T))

    def to_ours(self, value: np.ndarray) -> np.ndarray:
        """The inverse of `from_ours`."""
        return value.T

    def episode(self, part: str, count: int, arrays: Any) -> tuple[torch.Tensor, torch.Tensor]:
        """Inputs and targets `[tasks, examples, 1]`."""
        if arrays is not None:
            return torch.from_numpy(arrays[f"{part}_inputs"]), torch.from_numpy(arrays[f"{part}_targets"])
        inputs = torch.rand(self.work["tasks"], count, 1) * 10 - 5
        return inputs, torch.sin(inputs)


def build_model(work: dict[str, Any], arrays: Any) -> ConvolutionalModel | PerceptronModel:
    """The model that a work names; it needs no arrays."""
    del arrays
    return PerceptronModel(work) if work["learner"] == "mlp" else ConvolutionalModel(work)


BuildModel = Callable[[dict[str, Any], Any], Any]


def _block_values(inputs: int, filters: int) -> list[torch.Tensor]:
    return [torch.randn(filters, inputs, 3, 3) * 0.05, torch.zeros(filters), torch.ones(filters), torch.zeros(filters)]


def _block(inputs: torch.Tensor, parameters: list[torch.Tensor]) -> torch.Tensor:
    maps = F.conv2d(inputs, parameters[0], parameters[1], padding=1)
    return F.relu(F.batch_norm(maps, None, None, parameters[2], parameters[3], training=True, eps=1e-5))


class Step:
    """One meta-step with Adam.

    Args:
      work: see `benchmarks.performance.work.Work`.
      backward: `summed` or `per_task`.
      arrays: initial values and episode, or None for random ones.
      build: makes the model of a work and its arrays.
    """

    def __init__(
        self, work: dict[str, Any], backward: str, arrays: Any = None, build: BuildModel | None = None
    ) -> None:
        self.work = work if arrays is None else {**work, "tasks": len(arrays["support_inputs"])}
        self.backward = backward
        self.model = (build or build_model)(self.work, arrays)
        values = self.model.values
        if arrays is not None:
            values = {
                group: [self.model.from_ours(arrays[f"{group}/{i:02d}"]) for i in range(len(tensors))]
                for group, tensors in values.items()
            }
        self.values = {group: [tensor.requires_grad_() for tensor in tensors] for group, tensors in values.items()}
        self.support = self.model.episode("support", work["shots"], arrays)
        self.query = self.model.episode("query", work["queries"], arrays)
        self.optimizer = torch.optim.Adam([*self.values["learner"], *self.values["co_learner"]], 1e-3)

    def gradients(self) -> float:
        """Loss of the meta-batch; gradients are left in the parameters."""
        self.optimizer.zero_grad()
        tasks = self.work["tasks"]
        if self.backward == "per_task":
            total = 0.0
            for task in range(tasks):
                loss = self._task_loss(task) / tasks
                loss.backward()
                total += loss.item()
            return total
        summed = torch.stack([self._task_loss(task) for task in range(tasks)]).sum() / tasks
        summed.backward()
        return summed.item()

    def __call__(self) -> None:
        """One step."""
        self.gradients()
        self.optimizer.step()

    def _task_loss(self, task: int) -> torch.Tensor:
        model, parameters = self.model, self.values["learner"]
        inputs, targets = self.support[0][task], self.support[1][task]
        for _ in range(self.work["steps"]):
            loss = model.loss(model.head(model.features(inputs, parameters), parameters), targets)
            moves = torch.autograd.grad(loss, parameters, create_graph=True)
            parameters = [value - self.work["rate"] * move for value, move in zip(parameters, moves, strict=True)]
        features, targets = model.features(self.query[0][task], parameters), self.query[1][task]
        own = model.loss(model.head(features, parameters), targets)
        return own + self.work["gamma"] * model.loss(model.co_learner(features, self.values["co_learner"]), targets)

    def write(self, path: Path) -> None:
        """Loss and meta-gradients, in the layout of cml_tf."""
        loss = self.gradients()
        gradients = {
            f"{group}/{i:02d}": self.model.to_ours(tensor.grad.numpy())
            for group, tensors in self.values.items()
            for i, tensor in enumerate(tensors)
        }
        np.savez(path, allow_pickle=False, loss=np.float64(loss), **gradients)


def resident() -> dict[str, float]:
    """MiB resident, as `benchmarks.performance.resident`."""
    lines = Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines()
    fields = dict(line.split(":", 1) for line in lines if ":" in line)
    return {name: int(fields[key].split()[0]) / 1024 for name, key in (("now", "VmRSS"), ("peak", "VmHWM"))}


def main(build: BuildModel = build_model) -> None:
    """Builds, makes one step, and answers requests."""
    imported = resident()["now"]
    parser = argparse.ArgumentParser()
    parser.add_argument("work", type=json.loads)
    parser.add_argument("--backward", choices=("summed", "per_task"), default="summed")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    start = time.perf_counter()
    step = Step(arguments.work, arguments.backward, build=build)
    step()
    print(json.dumps({"ready": True, "first_seconds": time.perf_counter() - start}), flush=True)
    for line in sys.stdin:
        request, _, argument = line.strip().partition(" ")
        if request == "step":
            start = time.perf_counter()
            step()
            answer: dict[str, Any] = {"seconds": time.perf_counter() - start}
        elif request == "memory":
            answer = {"imported": imported, **resident()}
        elif request == "read":
            with np.load(Path(argument) / "work.npz", allow_pickle=False) as arrays:
                Step(arguments.work, arguments.backward, arrays, build).write(Path(argument) / "peer.npz")
            answer = {"written": argument}
        else:
            raise ValueError(f"a request to a peer must be step, memory or read, received {line!r}.")
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()

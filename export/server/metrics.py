"""Counters in Prometheus' text form, under TensorFlow Serving's names."""

from __future__ import annotations

import json
from bisect import bisect_left
from collections import Counter, defaultdict

COUNT = ":tensorflow:serving:request_count"
LATENCY = ":tensorflow:serving:request_latency"
# Microseconds.
_BOUNDS = [10 * 1.8**step for step in range(33)]

Labels = tuple[tuple[str, str], ...]


class Metrics:
    """How many requests there were and how long they took; used on one thread only."""

    def __init__(self) -> None:
        self._counts: Counter[Labels] = Counter()
        self._buckets: dict[Labels, list[int]] = defaultdict(lambda: [0] * (len(_BOUNDS) + 1))
        self._sums: Counter[Labels] = Counter()

    def record(self, model: str, api: str, entrypoint: str, status: str, seconds: float) -> None:
        """Counts one request.

        Args:
          model: name; of models that are not served, leave it empty: anybody could invent names without end.
          api: the call, such as `predict`.
          entrypoint: `GRPC` or `REST`.
          status: name of a gRPC status.
          seconds: from its arrival to the answer.
        """
        self._counts[(("model_name", model), ("status", status))] += 1
        labels = (("model_name", model), ("API", api), ("entrypoint", entrypoint))
        microseconds = seconds * 1e6
        self._buckets[labels][bisect_left(_BOUNDS, microseconds)] += 1
        self._sums[labels] += round(microseconds)

    def text(self) -> str:
        """The page that Prometheus reads."""
        lines = [f"# TYPE {COUNT} counter"]
        lines += [f"{COUNT}{_labels(labels)} {count}" for labels, count in self._counts.items()]
        lines.append(f"# TYPE {LATENCY} histogram")
        for labels, buckets in self._buckets.items():
            total = 0
            for bound, count in zip([*(f"{bound:g}" for bound in _BOUNDS), "+Inf"], buckets, strict=True):
                total += count
                lines.append(f"{LATENCY}_bucket{_labels((*labels, ('le', bound)))} {total}")
            lines.append(f"{LATENCY}_sum{_labels(labels)} {self._sums[labels]}")
            lines.append(f"{LATENCY}_count{_labels(labels)} {total}")
        return "\n".join(lines) + "\n"


def _labels(labels: Labels) -> str:
    return "{" + ",".join(f"{name}={json.dumps(value)}" for name, value in labels) + "}"

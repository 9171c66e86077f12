"""How many requests there were and how long they took, under TensorFlow Serving's names, for Prometheus."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterator
from itertools import accumulate

from prometheus_client import Metric, generate_latest
from prometheus_client.core import HistogramMetricFamily
from prometheus_client.registry import Collector

COUNT = ":tensorflow:serving:request_count"
LATENCY = ":tensorflow:serving:request_latency"
# Microseconds.
_BOUNDS = [10 * 1.8**step for step in range(33)]
# The library's own histogram would write 10.0 where TensorFlow Serving writes 10: another series to who adds them up.
_BOUND_LABELS = [*(f"{bound:g}" for bound in _BOUNDS), "+Inf"]


class Metrics(Collector):
    """Counts requests; used on one thread only."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, str]] = Counter()
        self._buckets: dict[tuple[str, str, str], list[int]] = defaultdict(lambda: [0] * len(_BOUND_LABELS))
        self._sums: Counter[tuple[str, str, str]] = Counter()

    def record(self, model: str, api: str, entrypoint: str, status: str, seconds: float) -> None:
        """Counts one request.

        Args:
          model: name; of models that are not served, leave it empty: anybody could invent names without end.
          api: the call, such as `predict`.
          entrypoint: `GRPC` or `REST`.
          status: name of a gRPC status.
          seconds: from its arrival to the answer.
        """
        self._counts[model, status] += 1
        labels = (model, api, entrypoint)
        microseconds = seconds * 1e6
        self._buckets[labels][bisect_left(_BOUNDS, microseconds)] += 1
        self._sums[labels] += round(microseconds)

    def collect(self) -> Iterator[Metric]:
        """What the library writes down."""
        counts = Metric(COUNT, "Requests by model and gRPC status.", "counter")
        for (model, status), count in self._counts.items():
            counts.add_sample(COUNT, {"model_name": model, "status": status}, count)
        yield counts
        latency = HistogramMetricFamily(
            LATENCY, "Microseconds from arrival to answer.", labels=("model_name", "API", "entrypoint")
        )
        for labels, buckets in self._buckets.items():
            cumulative = zip(_BOUND_LABELS, accumulate(buckets), strict=True)
            latency.add_metric(labels, list(cumulative), self._sums[labels])
        yield latency

    def page(self) -> bytes:
        """The page that Prometheus reads."""
        # The library gives every counter's head this ending, which TensorFlow Serving's counter does not have.
        page: bytes = generate_latest(self)
        for head in ("# HELP", "# TYPE"):
            page = page.replace(f"{head} {COUNT}_total ".encode(), f"{head} {COUNT} ".encode())
        return page

"""How many floating-point operations the convolutions of a CML step need, counted by hand.

A 3x3 convolution of an H x W map from C to D channels takes M = 2 * 9 * H * W * C * D operations an image (padding
counted as data; multiply and add are two), and so does each of its two derivatives: the one by the map and the one by
the kernel. Per support image and inner step, a block costs:

  forward                                  1 M
  first derivative                         kernel 1 M, map 1 M (not in the first block, whose map is the image)
  second derivative, given the tangent u   forward: x * u_kernel 1 M, u_x * kernel 1 M (not first)
  of the inner gradient                    kernel: u_x . dz 1 M (not first), x . du_z 1 M (from the reverse pass)
                                           map: dz * u_kernel 1 M (not first), du_z * kernel 1 M (not first)

That is 2 + 2 M in the first block and 3 + 6 M in the others; a query image costs 2 M (first) or 3 M. The co-learner
sees query images alone. First-order steps and predictions without gradients are not what this counts.
"""

from __future__ import annotations

from benchmarks.performance.work import Work

_BLOCKS, _CO_BLOCKS = 4, 2


def convolution_operations(height: int, width: int, channels: int, filters: int) -> int:
    """Of one 3x3 convolution of one image, forwards."""
    return 2 * 9 * height * width * channels * filters


def step_operations(work: Work) -> int:
    """Of all convolutions of one second-order CML step of conv4 with its co-learner.

    Raises:
      ValueError: for a learner without convolutions.
    """
    if work.learner != "conv4":
        raise ValueError(f"operations are counted for conv4, received {work.learner!r}.")
    first, others = convolution_operations(work.size, work.size, work.channels, work.filters), 0
    for block in range(1, _BLOCKS):
        edge = work.size // 2**block
        others += convolution_operations(edge, edge, work.filters, work.filters)
    edge = work.size // 2 ** (_BLOCKS - 1)
    co_learner = _CO_BLOCKS * convolution_operations(edge, edge, work.filters, work.filters)
    support = work.ways * work.shots * work.steps * (4 * first + 9 * others)
    query = work.ways * work.queries * (2 * first + 3 * others + 3 * co_learner)
    return work.tasks * (support + query)

"""Features in a plane (van der Maaten and Hinton 2008, t-SNE)."""

from __future__ import annotations

import numpy as np
from sklearn.manifold import TSNE

_PERPLEXITY = 15.0


def plane_of(features: np.ndarray, seed: int = 0) -> np.ndarray:
    """t-SNE of features `[examples, ...]`, float32 `[examples, 2]`; the same numbers for the same features and seed.

    It begins from the two principal components. The perplexity is 15, about as many neighbours as a class of an
    episode has queries, or a third of the examples where they are fewer than 46.

    Args:
      features: of at least four examples; what follows the examples is flattened.
      seed: of scikit-learn's random numbers.

    Raises:
      ValueError: for fewer than four examples, among which nobody has neighbours and others.
    """
    flat = np.asarray(features, np.float64).reshape(len(features), -1)
    if len(flat) < 4:
        raise ValueError(f"a plane of features needs at least 4 examples, received {len(flat)}.")
    perplexity = min(_PERPLEXITY, (len(flat) - 1) / 3)
    return TSNE(perplexity=perplexity, init="pca", random_state=seed).fit_transform(flat)

"""Features in a plane (van der Maaten and Hinton 2008, t-SNE)."""

from __future__ import annotations

import numpy as np
from sklearn.manifold import TSNE

# Fewer have no neighbours to be told from others.
FEWEST = 4
_PERPLEXITY = 15.0


def plane_of(features: np.ndarray, seed: int = 0) -> np.ndarray:
    """t-SNE of features `[examples, ...]`, float32 `[examples, 2]`; the same numbers for the same features and seed.

    It begins from the two principal components. The perplexity is 15, about as many neighbours as a class of an
    episode has queries, or a third of the examples where they are fewer than 46. Features that are all the same are
    one point, (0, 0).

    Args:
      features: of at least `FEWEST` examples; what follows the examples is flattened.
      seed: of scikit-learn's random numbers.

    Raises:
      ValueError: for fewer than `FEWEST` examples.
    """
    flat = np.asarray(features, np.float64).reshape(len(features), -1)
    if len(flat) < FEWEST:
        raise ValueError(f"a plane of features needs at least {FEWEST} examples, received {len(flat)}.")
    if (flat == flat[0]).all():
        return np.zeros((len(flat), 2), np.float32)
    if flat.shape[1] < 2:
        # Two principal components are wanted; the second has no part in any distance.
        flat = np.pad(flat, ((0, 0), (0, 1)))
    perplexity = min(_PERPLEXITY, (len(flat) - 1) / 3)
    # An episode is small: the exact gradient is quicker than the approximate one, whose threads wait for each other.
    return TSNE(perplexity=perplexity, init="pca", method="exact", random_state=seed).fit_transform(flat)

from __future__ import annotations

import numpy as np
import pytest

from cml_tf.studies.analyses.representations import FEWEST, plane_of


def clusters():
    generator = np.random.default_rng(0)
    centres = 20.0 * generator.standard_normal((3, 2, 2, 4))
    return np.concatenate([centre + generator.standard_normal((8, 2, 2, 4)) for centre in centres])


def test_clusters_stay_clusters_and_numbers_the_same():
    points = plane_of(clusters())
    assert points.shape == (24, 2) and np.isfinite(points).all()
    groups = points.reshape(3, 8, 2)
    within = np.linalg.norm(groups - groups.mean(1, keepdims=True), axis=-1).max()
    middles = groups.mean(1)
    between = min(np.linalg.norm(middles[i] - middles[j]) for i in range(3) for j in range(i))
    assert between > 2 * within
    np.testing.assert_array_equal(points, plane_of(clusters()))


def test_the_fewest_examples_have_a_plane_and_fewer_do_not():
    assert plane_of(clusters()[:FEWEST]).shape == (FEWEST, 2)
    with pytest.raises(ValueError, match="at least 4 examples, received 3"):
        plane_of(clusters()[:3])


def test_features_without_a_plane_of_their_own_have_one():
    assert not plane_of(np.full((6, 3), 0.25)).any()
    line = plane_of(clusters()[:, :1, :1, 0])
    assert line.shape == (24, 2) and np.isfinite(line).all()

"""Linear CKA against its definition by centred Gram matrices, and its invariances."""

from __future__ import annotations

import numpy as np
import pytest

from cml_tf.studies.analyses.representations import linear_cka

# More examples than numbers and fewer: the two forms of the same number.
WIDTHS = [(3, 4), (3, 40), (40, 50)]
EXAMPLES = 12


def pair(widths, seed=0):
    """Two representations that have something in common."""
    generator = np.random.default_rng(seed)
    common = generator.standard_normal((EXAMPLES, 2))
    return [
        common @ generator.standard_normal((2, width)) + 0.5 * generator.standard_normal((EXAMPLES, width)) + 3.0
        for width in widths
    ]


def by_definition(left, right):
    """HSIC(K, L) / sqrt(HSIC(K, K) HSIC(L, L)) with HSIC(K, L) = tr(K H L H) / (n - 1)^2 (equations 3 and 4)."""
    count = len(left)
    centring = np.eye(count) - np.ones((count, count)) / count

    def criterion(one, other):
        return np.trace(one @ one.T @ centring @ other @ other.T @ centring) / (count - 1) ** 2

    return criterion(left, right) / np.sqrt(criterion(left, left) * criterion(right, right))


@pytest.mark.parametrize("widths", WIDTHS)
def test_it_is_the_definition(widths):
    left, right = pair(widths)
    expected = by_definition(left, right)
    assert 0.05 < expected < 0.99
    assert linear_cka(left, right) == pytest.approx(expected, rel=1e-10)
    assert linear_cka(right, left) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("widths", WIDTHS)
def test_rotations_scale_and_shift_change_nothing_and_other_maps_do(widths):
    left, right = pair(widths)
    generator = np.random.default_rng(1)
    rotation, _ = np.linalg.qr(generator.standard_normal((right.shape[1], right.shape[1])))
    expected = linear_cka(left, right)
    assert linear_cka(left, -7.0 * right @ rotation + generator.standard_normal(right.shape[1])) == pytest.approx(
        expected, rel=1e-9
    )
    assert linear_cka(left, left @ np.linalg.qr(generator.standard_normal((left.shape[1],) * 2))[0]) == pytest.approx(1)
    stretched = right * np.geomspace(1.0, 100.0, right.shape[1])
    assert abs(linear_cka(left, stretched) - expected) > 1e-3


def test_maps_are_flattened_and_half_precision_is_widened():
    left, right = pair((12, 12))
    maps = left.reshape(EXAMPLES, 2, 2, 3)
    assert linear_cka(maps, right) == linear_cka(left, right)
    large = (1e4 * left).astype(np.float16)
    assert linear_cka(large, large) == pytest.approx(1.0)


def test_one_representation_for_all_examples_has_no_direction():
    left, _ = pair((4, 4))
    assert np.isnan(linear_cka(left, np.full((EXAMPLES, 3), 0.1)))
    assert np.isnan(linear_cka(np.zeros((EXAMPLES, 3)), left))


@pytest.mark.parametrize("left, right", [(3, 4), (1, 1)])
def test_sizes_are_checked(left, right):
    with pytest.raises(ValueError, match=f"two examples or more, received {left} and {right}"):
        linear_cka(np.ones((left, 2)), np.ones((right, 2)))

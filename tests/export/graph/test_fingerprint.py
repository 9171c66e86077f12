"""What tells one set of served variables from another."""

from __future__ import annotations

import hashlib

import numpy as np

from export.graph.serving_module import ServingModule, fingerprint, variables_digest
from tests.export.served import wave_model

VALUES = [np.arange(6, dtype=np.float32).reshape(2, 3), np.zeros(2, np.float32)]


def test_it_is_sha_256_of_dtype_shape_and_bytes_in_order():
    expected = hashlib.sha256(b"float32[2, 3]" + VALUES[0].tobytes() + b"float32[2]" + VALUES[1].tobytes()).hexdigest()
    assert variables_digest(VALUES) == expected


def test_every_change_changes_it():
    matrix, vector = VALUES
    others = [
        [vector, matrix],
        [matrix.reshape(3, 2), vector],
        [matrix.astype(np.float64), vector],
        [np.nextafter(matrix, np.float32(9)), vector],
    ]
    assert len({variables_digest(values) for values in [VALUES, *others]}) == 5


def test_it_fits_a_positive_int32_and_is_never_the_mark_of_a_failed_task():
    read = {"ffffffff": 2**31 - 1, "80000000": 1, "00000000": 1, "00000005": 5}
    assert {digest: fingerprint(digest) for digest in read} == read


def test_the_same_model_has_the_same_one_whatever_its_layers_are_called():
    assert ServingModule(wave_model()).digest == ServingModule(wave_model()).digest

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
    others = [
        [VALUES[1], VALUES[0]],
        [VALUES[0].reshape(3, 2), VALUES[1]],
        [VALUES[0].astype(np.float64), VALUES[1]],
        [np.nextafter(VALUES[0], np.float32(9)), VALUES[1]],
    ]
    digests = {variables_digest(values) for values in [VALUES, *others]}
    assert len(digests) == 5


def test_it_fits_a_positive_int32_and_is_never_the_mark_of_a_failed_task():
    assert fingerprint("ffffffff") == 2**31 - 1
    assert fingerprint("80000000") == fingerprint("00000000") == 1
    assert fingerprint("00000005") == 5


def test_the_same_model_has_the_same_one_whatever_its_layers_are_called():
    first, second = ServingModule(wave_model()), ServingModule(wave_model())
    assert first.digest == second.digest
    assert first.served[0].numpy() is not second.served[0].numpy()

"""A tensor of wrong shape is an error of its request; without a check of ranks it would end the whole server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from export.graph.specifications import input_specifications

PROGRAM = Path(__file__).with_name("wrong_ranks.py")


@pytest.fixture(scope="module")
def outcomes(images, waves, nodes):
    # oneDNN is what aborts.
    environment = {**os.environ, "TF_ENABLE_ONEDNN_OPTS": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}
    models = [str(served.directory) for served in (images, waves, nodes)]
    done = subprocess.run([sys.executable, PROGRAM, *models], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_every_wrong_shape_is_an_error_of_the_request(outcomes):
    right = {call: outcome for call, outcome in outcomes.items() if call.endswith("as it should be")}
    wrong = {call: outcome for call, outcome in outcomes.items() if call not in right}
    assert set(right.values()) == {None}
    # The message is that of the check at the boundary: nothing further on gets to see the tensor.
    told = ("InvalidArgumentError: Shape of tensor", "is not compatible with expected shape")
    assert {call: error for call, error in wrong.items() if not error or any(part not in error for part in told)} == {}
    assert len(wrong) > 80


def test_every_input_of_every_signature_was_tried(outcomes, images, waves, nodes):
    for served in (images, waves, nodes):
        for signature, specifications in input_specifications(served.model).items():
            for name, specification in specifications.items():
                ranks = {
                    call.count(",") + (not call.endswith("[]"))
                    for call in outcomes
                    if call.startswith(f"{served.directory} {signature} {name} [")
                }
                assert ranks >= set(range(specification.shape.rank + 2)) - {specification.shape.rank}

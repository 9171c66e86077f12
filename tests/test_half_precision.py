"""A machine whose bfloat16 kills the process is told apart, and a run is refused with the remedy."""

from __future__ import annotations

import signal

import keras
import pytest

from cml_tf import half_precision
from cml_tf.experiments import configured_trainer
from cml_tf.experiments.configuration import ConfigurationError
from tests.helpers.small_configs import trainer_of, waves


@pytest.mark.parametrize(
    ("code", "alive"),
    [
        ("pass", True),
        ("raise SystemExit(1)", True),
        (f"import os; os.kill(os.getpid(), {int(signal.SIGKILL)})", True),
        (f"import os; os.kill(os.getpid(), {int(signal.SIGILL)})", False),
    ],
)
def test_only_an_illegal_instruction_counts(code, alive):
    assert half_precision.survives(code) is alive


def test_the_suite_itself_runs_where_bfloat16_works():
    """`conftest` sees to it, and a limit that it had to set reaches child processes."""
    assert half_precision.bfloat16_works()


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_half_precision_is_refused_where_it_would_kill(policy, monkeypatch):
    monkeypatch.setattr(configured_trainer, "bfloat16_works", lambda: False)
    config = waves(**{"learner.dtype_policy": policy})
    if policy == "float32":
        assert trainer_of(config) and keras.config.dtype_policy().name == "float32"
        return
    with pytest.raises(ConfigurationError, match=r"dtype_policy .*mixed_bfloat16.*ONEDNN_MAX_CPU_ISA=AVX512_CORE_BF16"):
        trainer_of(config)

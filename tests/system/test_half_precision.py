"""A machine whose bfloat16 kills the process is told apart, and a run is refused with the remedy."""

import signal

import keras
import pytest
import tensorflow as tf

from cml_tf.experiments import assembly
from cml_tf.experiments.configuration import ConfigurationError
from cml_tf.system import machine as half_precision
from export.server import servable
from export.server.errors import ServingError
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

    # `conftest` sees to it for the suite itself, and a limit that it had to set reaches child processes.
    assert half_precision.bfloat16_works()


def test_half_precision_is_refused_where_it_would_kill(monkeypatch):
    monkeypatch.setattr(assembly, "bfloat16_works", lambda: False)
    assert trainer_of(waves()) and keras.config.dtype_policy().name == "float32"
    config = waves(**{"learner.dtype_policy": "mixed_bfloat16"})
    with pytest.raises(ConfigurationError, match=r"dtype_policy .*mixed_bfloat16.*ONEDNN_MAX_CPU_ISA=AVX512_CORE_BF16"):
        trainer_of(config)


@pytest.mark.parametrize("dtype", [tf.float32, tf.bfloat16], ids=lambda dtype: dtype.name)
def test_a_server_refuses_a_model_that_would_kill_it(dtype, tmp_path, monkeypatch):
    @tf.function(input_signature=[tf.TensorSpec([2, 2], tf.float32, "x")])
    def square(x):
        return {"y": tf.cast(tf.matmul(tf.cast(x, dtype), tf.cast(x, dtype)), tf.float32)}

    tf.saved_model.save(tf.Module(), str(tmp_path), signatures=square)
    monkeypatch.setattr(servable, "bfloat16_works", lambda: False)
    if dtype == tf.float32:
        servable.Servable(tmp_path).close()
        return
    with pytest.raises(ServingError, match=r"in bfloat16, which .*ONEDNN_MAX_CPU_ISA=AVX512_CORE_BF16") as caught:
        servable.Servable(tmp_path)
    assert caught.value.code == "FAILED_PRECONDITION"

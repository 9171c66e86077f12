"""What a result says of its machine; one whose bfloat16 kills the process is told apart, with the remedy."""

import signal

import pytest
import tensorflow as tf

from cml_tf.experiments import assembly
from cml_tf.experiments.configuration import ConfigurationError
from cml_tf.system.machine import bfloat16_works, differences, label, machine, processor, survives
from export.server import servable
from export.server.errors import ServingError
from tests.helpers.small_configs import trainer_of, waves


def test_a_label_has_what_makes_results_differ_and_nothing_else():
    here = machine()
    assert here["cores"] >= 1 and here["memory_gib"] > 0 and here["packages"]["tensorflow"] == tf.__version__
    assert not differences(here, here)
    assert differences(here, {**here, "processor": "Z80"}) == [f"processor: {here['processor']} then, Z80 now"]
    text = "processor\t: 0\nmodel name\t: Fast 9000\nflags\t\t: fpu avx2 amx_bf16 sse\nmodel name\t: Fast 9000\n"
    assert processor(text) == ("Fast 9000", ["avx2", "amx_bf16"]) and processor("") == ("unknown", [])
    packages = {"tensorflow": "2.21.0", "numpy": "2.4.6"}
    described = {**here, "processor": "Fast 9000", "flags": ["avx2", "avx512f"], "cores": 2, "packages": packages}
    assert label(described) == "Fast 9000 (avx2 avx512f), 2 cores, tensorflow 2.21.0, numpy 2.4.6"
    assert label({**described, "kernel": "other", "memory_gib": 1.0}) == label(described)
    for key, other in {"processor": "Z80", "flags": [], "cores": 1, "packages": {}}.items():
        assert label({**described, key: other}) != label(described)


def test_only_an_illegal_instruction_counts():
    for code, alive in (("raise SystemExit(1)", True), (signal.SIGKILL, True), (signal.SIGILL, False)):
        program = code if isinstance(code, str) else f"import os; os.kill(os.getpid(), {int(code)})"
        assert survives(program) is alive
    # `conftest` sees to it for the suite itself, and a limit that it had to set reaches child processes.
    assert bfloat16_works()


def test_half_precision_is_refused_where_it_would_kill(monkeypatch, tmp_path):
    monkeypatch.setattr(assembly, "bfloat16_works", lambda: False)
    monkeypatch.setattr(servable, "bfloat16_works", lambda: False)
    assert trainer_of(waves())
    with pytest.raises(ConfigurationError, match="dtype_policy .*mixed_bfloat16.*ONEDNN_MAX_CPU_ISA=AVX512_CORE_BF16"):
        trainer_of(waves(**{"learner.dtype_policy": "mixed_bfloat16"}))
    for dtype in (tf.float32, tf.bfloat16):

        @tf.function(input_signature=[tf.TensorSpec([2, 2], tf.float32, "x")])
        def square(x, dtype=dtype):
            return {"y": tf.cast(tf.matmul(tf.cast(x, dtype), tf.cast(x, dtype)), tf.float32)}

        tf.saved_model.save(tf.Module(), str(tmp_path / dtype.name), signatures=square)
    servable.Servable(tmp_path / "float32").close()
    with pytest.raises(ServingError, match="in bfloat16, .*ONEDNN_MAX_CPU_ISA=AVX512_CORE_BF16") as caught:
        servable.Servable(tmp_path / "bfloat16")
    assert caught.value.code == "FAILED_PRECONDITION"

"""What a result says of the machine that it was made on."""

import tensorflow as tf

from cml_tf.system.machine import differences, label, machine, processor


def test_machine():
    described = machine()
    assert described["cores"] >= 1 and described["memory_gib"] > 0
    assert described["packages"]["tensorflow"] == tf.__version__
    assert not differences(described, described)
    told = differences(described, {**described, "processor": "Z80"})
    assert told == [f"processor: {described['processor']} then, Z80 now"]


def test_processor_is_read_from_the_kernels_text():
    text = "processor\t: 0\nmodel name\t: Fast 9000\nflags\t\t: fpu avx2 amx_bf16 sse\nmodel name\t: Fast 9000\n"
    assert processor(text) == ("Fast 9000", ["avx2", "amx_bf16"])
    assert processor("") == ("unknown", [])


def test_a_label_has_what_makes_results_differ_and_nothing_else():
    described = {**machine(), "processor": "Fast 9000", "flags": ["avx2", "avx512f"], "cores": 2}
    described["packages"] = {"tensorflow": "2.21.0", "numpy": "2.4.6"}
    assert label(described) == "Fast 9000 (avx2 avx512f), 2 cores, tensorflow 2.21.0, numpy 2.4.6"
    assert ", 1 core, " in label({**described, "cores": 1})
    assert label({**described, "kernel": "other", "memory_gib": 1.0}) == label(described)
    for key, other in {"processor": "Z80", "flags": [], "cores": 1, "packages": {}}.items():
        assert label({**described, key: other}) != label(described)

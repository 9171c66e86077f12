"""The check of the written file finds what must not be in it."""

from __future__ import annotations

import pytest
import tensorflow as tf

from cml_tf.problems import Classification
from cml_tf.readouts import read_through
from export.errors import ExportError
from export.gate.inspection import check_file, co_learner_names
from export.graph.exportable import Exportable
from tests.export.served import WAYS
from tests.helpers.few_shot import image_trainer


def _write(directory, body, name="weight", **options):
    module = tf.Module()
    module.weight = tf.Variable([1.0], name=name)
    function = tf.function(
        lambda values: {"sum": body(values + module.weight)},
        input_signature=[tf.TensorSpec([None], tf.float32)],
        autograph=False,
        **options,
    )
    tf.saved_model.save(module, str(directory), signatures=function)
    return directory


def test_a_sound_file_passes_and_a_variable_too_many_is_found(images):
    check_file(images.directory, ["co_learner"], len(images.model.named_variables))
    with pytest.raises(ExportError, match="must contain 3 variables, received"):
        check_file(images.directory, [], 3)


def test_a_forbidden_name_is_found(tmp_path):
    def named(values):
        with tf.name_scope("co_learner_1"):
            return tf.reduce_sum(values)

    path = _write(tmp_path / "1", named)
    check_file(path, ["second_co_learner"], 1)
    with pytest.raises(ExportError, match="'co_learner' occurs"):
        check_file(path, ["co_learner"], 1)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (tf.function(tf.reduce_sum, jit_compile=True), "compiled by XLA"),
        (lambda values: tf.numpy_function(lambda x: x, [values], tf.float32), "runs Python"),
    ],
)
def test_what_no_server_runs_is_found(tmp_path, body, message):
    with pytest.raises(ExportError, match=message):
        check_file(_write(tmp_path / "1", body), [], 1)


def test_the_co_learner_is_forbidden_unless_it_is_served():
    method, problem = image_trainer().method, Classification(WAYS)
    for readout, names in (("learner", ["co_learner"]), ("co_learner", [])):
        served = Exportable(read_through(method, problem, readout), problem, (0.0, 1.0))
        assert co_learner_names(method, served) == names

"""Settings that other projects left in keras.json and in the environment change no result."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import keras
import pytest

from cml_tf.system import settings as keras_settings
from tests.helpers.programs import ROOT, environment

HOSTILE = {"backend": "torch", "floatx": "float64", "epsilon": 0.5, "image_data_format": "channels_first"}
VARIABLES = {
    "KERAS_BACKEND": "nonsense",
    "KERAS_MAX_EPOCHS": "many",
    "KERAS_MAX_STEPS_PER_EPOCH": "1",
    "KERAS_NNX_ENABLED": "true",
    "TF_USE_LEGACY_KERAS": "1",
    "TF2_BEHAVIOR": "0",
    "TF_FUNCTION_JIT_COMPILE_DEFAULT": "1",
    "TF_XLA_FLAGS": "--tf_xla_auto_jit=2",
    "ONEDNN_DEFAULT_FPMATH_MODE": "BF16",
}


@pytest.fixture
def settings(tmp_path, monkeypatch):
    """Writes keras.json; what Keras is set to is brought back afterwards."""
    before = keras.config.floatx(), keras.config.epsilon(), keras.config.image_data_format()
    for name in keras_settings.IGNORED:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    yield lambda text: (tmp_path / "keras.json").write_text(text)
    keras.config.set_floatx(before[0])
    keras.config.set_epsilon(before[1])
    keras.config.set_image_data_format(before[2])


@pytest.mark.filterwarnings("error")
def test_keras_own_defaults_are_no_news(settings, monkeypatch):
    settings(json.dumps(keras_settings.DEFAULTS))
    monkeypatch.setenv("KERAS_BACKEND", "tensorflow")
    monkeypatch.setenv("TF2_BEHAVIOR", "1")
    keras_settings.apply()


def test_what_a_file_has_set_is_set_back(settings):
    settings(json.dumps(HOSTILE))
    keras.config.set_floatx("float64")
    keras.config.set_epsilon(0.5)
    keras.config.set_image_data_format("channels_first")
    with pytest.warns(UserWarning, match="backend='torch' in .*floatx='float64' in .*epsilon=0.5 in .*channels_first"):
        keras_settings.apply()
    assert (keras.config.floatx(), keras.config.epsilon()) == ("float32", 1e-7)
    assert keras.config.image_data_format() == "channels_last"


@pytest.mark.filterwarnings("ignore:cml_tf does not use")
def test_what_the_program_has_set_stays(settings):
    settings(json.dumps(HOSTILE))
    keras.config.set_floatx("float16")
    keras_settings.apply()
    assert keras.config.floatx() == "float16"


@pytest.mark.parametrize("name", keras_settings.IGNORED)
def test_variables_are_taken_out_of_the_environment_and_told(settings, monkeypatch, name):
    monkeypatch.setenv(name, "other")
    with pytest.warns(UserWarning, match=f"{name}=other in the environment"):
        keras_settings.apply()
    assert os.environ.get(name) == ("tensorflow" if name == "KERAS_BACKEND" else None)


def test_another_backend_in_the_same_process_is_one_clear_error(settings, monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    with pytest.raises(ImportError, match="imported before with the backend jax. Start Python again and import cml_tf"):
        keras_settings.apply()


_WEIGHTS = """
import hashlib, cml_tf, keras, numpy as np
keras.utils.set_random_seed(0)
layers = [keras.layers.Conv2D(3, 3), keras.layers.BatchNormalization(), keras.layers.Flatten(), keras.layers.Dense(2)]
model = keras.Sequential([keras.Input((6, 5, 2)), *layers])
model.compile(keras.optimizers.Adam(), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
images = np.random.default_rng(0).random((8, 6, 5, 2))
model.fit(images, np.arange(8) % 2, epochs=2, batch_size=4, verbose=0, shuffle=False)
print(hashlib.sha256(b"".join(np.asarray(weight).tobytes() for weight in model.get_weights())).hexdigest())
"""


def _weights(home, text, variables):
    home.mkdir()
    if text:
        (home / "keras.json").write_text(text)
    usual = {name: value for name, value in environment().items() if name not in keras_settings.IGNORED}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", _WEIGHTS],
        cwd=ROOT,
        env={**usual, **variables, "KERAS_HOME": str(home)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_hostile_settings_change_no_bit(tmp_path):
    usual = _weights(tmp_path / "usual", "", {})
    assert len(usual.strip()) == 64
    assert _weights(tmp_path / "hostile", json.dumps(HOSTILE), VARIABLES) == usual


@pytest.mark.slow
@pytest.mark.parametrize("text", ["[1]", '{"floatx": "int8"}', '{"epsilon": 1}', '{"nnx_enabled": true}', "\x00"])
def test_files_that_keras_ends_at_are_passed_over(tmp_path, text):
    assert _weights(tmp_path / "hostile", text, {}) == _weights(tmp_path / "usual", "", {})

"""Settings that other projects left in keras.json and in the environment change no result."""

import importlib
import importlib.util
import json
import os
import sys

import keras
import pytest

from cml_tf.system import settings as keras_settings
from cml_tf.system.machine import machine
from tests.helpers.programs import ROOT, run_programs, run_python

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


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch):
    for name in keras_settings.IGNORED:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def settings(tmp_path, monkeypatch):
    """Writes keras.json; what Keras is set to is brought back afterwards."""
    before = keras.config.floatx(), keras.config.epsilon(), keras.config.image_data_format()
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    yield lambda values: (tmp_path / "keras.json").write_text(json.dumps(values))
    keras.config.set_floatx(before[0])
    keras.config.set_epsilon(before[1])
    keras.config.set_image_data_format(before[2])


@pytest.mark.filterwarnings("error")
def test_keras_own_defaults_are_no_news_and_another_backend_is_an_error(settings, monkeypatch):
    settings(keras_settings.DEFAULTS)
    monkeypatch.setenv("KERAS_BACKEND", "tensorflow")
    monkeypatch.setenv("TF2_BEHAVIOR", "1")
    keras_settings.apply()
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    with pytest.raises(ImportError, match="backend jax"):
        keras_settings.apply()


def test_what_a_file_has_set_is_set_back_and_what_the_program_has_set_stays(settings):
    settings(HOSTILE)
    keras.config.set_floatx("float64")
    keras.config.set_epsilon(0.5)
    keras.config.set_image_data_format("channels_first")
    with pytest.warns(UserWarning, match="backend='torch' in .*floatx='float64' in .*epsilon=0.5 in .*channels_first"):
        keras_settings.apply()
    assert (keras.config.floatx(), keras.config.epsilon()) == ("float32", 1e-7)
    assert keras.config.image_data_format() == "channels_last"
    keras.config.set_floatx("float16")
    with pytest.warns(UserWarning):
        keras_settings.apply()
    assert keras.config.floatx() == "float16"


@pytest.mark.parametrize("name", keras_settings.IGNORED)
def test_variables_are_taken_out_of_the_environment_and_told(settings, monkeypatch, name):
    monkeypatch.setenv(name, "other")
    with pytest.warns(UserWarning, match=f"{name}=other in the environment"):
        keras_settings.apply()
    assert os.environ.get(name) == ("tensorflow" if name == "KERAS_BACKEND" else None)


@pytest.mark.parametrize(("given", "kept"), [(None, "1"), ("0", "0"), ("false", "false"), ("1", "1")])
def test_quick_kernels_are_taken_where_nobody_chose_others(settings, monkeypatch, given, kept):
    """TensorFlow by itself takes them on some processors only."""
    monkeypatch.delenv("TF_ENABLE_ONEDNN_OPTS")
    if given:
        monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", given)
    keras_settings.apply()
    assert os.environ["TF_ENABLE_ONEDNN_OPTS"] == kept
    assert ("without oneDNN" in machine()["flags"]) == (kept != "1")


def test_no_program_imports_tensorflow_before_its_kernels_are_chosen():
    modules = [
        "cml_tf.train",
        "export.device.exporting",
        "export.graph.exportable",
        "examples.snake.train",
        "benchmarks.device",
    ]
    found = printed(_KERNELS, *modules)
    assert found == [f"{module} 1" for module in modules]


def test_who_asks_whether_keras_is_there_leaves_its_first_import_accompanied(tmp_path, monkeypatch):
    (tmp_path / "keras.py").write_text("import os\nhome = os.environ['KERAS_HOME']")
    monkeypatch.setenv("KERAS_HOME", "theirs")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "keras")
    finder = keras_settings._FirstImport("not used")
    monkeypatch.setattr(sys, "meta_path", [finder, *sys.meta_path])
    assert importlib.util.find_spec("keras").origin == str(tmp_path / "keras.py")
    with pytest.warns(UserWarning, match="^not used$") as told:
        assert importlib.import_module("keras").home == keras_settings._NOWHERE
    assert len(told) == 1 and os.environ["KERAS_HOME"] == "theirs"
    assert finder not in sys.meta_path


_WEIGHTS = """
import cml_tf, importlib.util
importlib.util.find_spec("keras")  # As libraries do that work with Keras where it is.
import hashlib, cml_tf.datasets, matplotlib, keras, numpy as np
keras.utils.set_random_seed(0)
layers = [keras.layers.Conv2D(3, 3), keras.layers.BatchNormalization(), keras.layers.Flatten(), keras.layers.Dense(2)]
model = keras.Sequential([keras.Input((6, 5, 2)), *layers])
model.compile(keras.optimizers.Adam(), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
images = np.random.default_rng(0).random((8, 6, 5, 2))
model.fit(images, np.arange(8) % 2, epochs=2, batch_size=4, verbose=0, shuffle=False)
print(hashlib.sha256(b"".join(np.asarray(weight).tobytes() for weight in model.get_weights())).hexdigest())
"""
# One process for many folders of settings: each has Keras imported anew.
_FOLDERS = """
import os, sys
import tensorflow
for home in sys.argv[1:]:
    if not os.fork():
        os.environ["KERAS_HOME"] = home
        import cml_tf, keras
        from keras import config
        print(config.backend(), config.floatx(), config.epsilon(), config.image_data_format(), config.is_nnx_enabled())
        sys.exit()
    os.wait()
"""
# TensorFlow itself is not imported: what it would find is printed, and the import refused.
_KERNELS = """
import importlib, os, sys

class Refused:
    def find_spec(self, name, path, target=None):
        if name == "tensorflow":
            print(module, os.environ.get("TF_ENABLE_ONEDNN_OPTS"))
            raise ImportError

finders = [Refused(), *sys.meta_path]
for module in sys.argv[1:]:
    os.environ.pop("TF_ENABLE_ONEDNN_OPTS", None)
    sys.meta_path[:] = finders
    try:
        importlib.import_module(module)
    except ImportError:
        pass
    for name in [name for name in sys.modules if name.split(".")[0] in ("cml_tf", "export", "examples", "benchmarks")]:
        del sys.modules[name]
"""
# After TensorFlow was used, a new process works where a forked one would hang (docs/ENVIRONMENT.md).
_PROCESSES = """
import multiprocessing, sys
import cml_tf
import tensorflow as tf

def doubled(value):
    return float(tf.linalg.matmul([[2.0]], [[value]])[0, 0])

if __name__ == "__main__":
    before = doubled(1.0)
    with multiprocessing.get_context(sys.argv[1]).Pool(1) as pool:
        print(before, pool.map(doubled, [2.0, 3.0]))
"""


def printed(program, *arguments, **variables):
    done = run_python("-W", "ignore", "-c", program, *map(str, arguments), **variables)
    assert done.code == 0 and "Traceback" not in done.err, done.err
    return done.out.splitlines()


def home(folder, text=""):
    folder.mkdir()
    if text:
        (folder / "keras.json").write_text(text)
    return str(folder)


@pytest.mark.slow
def test_hostile_settings_change_no_bit(tmp_path):
    """Nor does a drawing backend that is not there, as a notebook hands it on."""
    (tmp_path / "weights.py").write_text(_WEIGHTS)
    (usual,) = (done.out.strip() for done in run_programs([["weights"]], tmp_path))
    hostile = {
        "KERAS_HOME": home(tmp_path / "hostile", json.dumps(HOSTILE)),
        "MPLBACKEND": "module://not_there.backend",
    }
    assert len(usual) == 64 and printed(_WEIGHTS, **hostile, **VARIABLES) == [usual]


@pytest.mark.slow
def test_files_that_keras_ends_at_are_passed_over(tmp_path):
    texts = ["[1]", '{"floatx": "int8"}', '{"epsilon": 1}', '{"nnx_enabled": true}', "\x00"]
    homes = [home(tmp_path / str(number), text) for number, text in enumerate(texts)]
    assert printed(_FOLDERS, *homes) == ["tensorflow float32 1e-07 channels_last False"] * len(texts)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_new_processes_work_after_tensorflow_was_used(method, tmp_path):
    (tmp_path / "script.py").write_text(_PROCESSES)
    done = run_python(str(tmp_path / "script.py"), method, PYTHONPATH=str(ROOT))
    assert (done.code, done.out) == (0, "2.0 [4.0, 6.0]\n"), done.err

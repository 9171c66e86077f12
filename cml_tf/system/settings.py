"""Keras and TensorFlow as this project needs them, whatever other projects have set up on the machine.

Keras reads `keras.json` (in `$KERAS_HOME`, else in `~/.keras`) and variables of the environment while it is imported,
and TensorFlow, which imports Keras, reads there what kernels to take. So `cml_tf` imports this first. It loads neither:
where Keras is not there yet, its import is accompanied whenever it comes, so what needs no TensorFlow of this package
does not wait for it.

Matplotlib where another program's choice of a drawing backend does not exist: figures are files here.

Jupyter hands `MPLBACKEND=module://matplotlib_inline.backend_inline` on to every program that a notebook starts. Where
that module is not installed, importing matplotlib raises. This project draws without a backend, so it does not matter.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.abc
import importlib.machinery
import json
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

DEFAULTS: dict[str, Any] = {
    "backend": "tensorflow",
    "floatx": "float32",
    "epsilon": 1e-7,
    "image_data_format": "channels_last",
    "nnx_enabled": False,
}
"""Keras' own, by their names in `keras.json`."""

IGNORED = (
    "KERAS_BACKEND",
    "KERAS_MAX_EPOCHS",
    "KERAS_MAX_STEPS_PER_EPOCH",
    "KERAS_NNX_ENABLED",
    "TF_USE_LEGACY_KERAS",
    "TF2_BEHAVIOR",
    "TF_FUNCTION_JIT_COMPILE_DEFAULT",
    "TF_JIT_COMPILE_REWRITE",
    "TF_XLA_FLAGS",
    "TF_SET_ONEDNN_FPMATH_MODE",
    "ONEDNN_DEFAULT_FPMATH_MODE",
    "DNNL_DEFAULT_FPMATH_MODE",
)
"""Variables that choose another library, another precision or another compiler, and so another result."""

ONEDNN = "TF_ENABLE_ONEDNN_OPTS"
"""Environment variable that turns oneDNN's kernels on or off."""

_HARMLESS = {"KERAS_BACKEND": "tensorflow", "TF2_BEHAVIOR": "1"}
# Below a file there is no folder: Keras finds no settings there and cannot leave any.
_NOWHERE = os.path.join(os.devnull, "keras")


def apply() -> None:
    """Sees to it that Keras is imported on TensorFlow with its own defaults; warns then of settings that are not used.

    Raises:
      ImportError: if another part of the program has imported Keras with another backend, or TensorFlow 1's behaviour.
    """
    imported = "keras" in sys.modules
    path = _settings_file()
    settings, fault = _read(path)
    unused = [f"{name}={value!r} in {path}" for name, value in settings.items() if value != DEFAULTS[name]]
    unused += [fault] if fault else []
    unused += [f"{name}={os.environ[name]} in the environment" for name in IGNORED if _counts(name)]
    for name in IGNORED:
        os.environ.pop(name, None)
    os.environ["KERAS_BACKEND"] = DEFAULTS["backend"]
    # TensorFlow leaves these kernels out on processors without AVX-512, where images take up to twice as long then.
    os.environ.setdefault(ONEDNN, "1")
    told = f"cml_tf ignores these settings of Keras and TensorFlow: {'; '.join(unused)}." if unused else ""
    if not imported:
        sys.meta_path.insert(0, _FirstImport(told))
        return
    _check_imported()
    import keras

    for name in ("floatx", "epsilon", "image_data_format"):
        # What the program itself has set since is its own affair.
        if getattr(keras.config, name)() == settings.get(name):
            getattr(keras.config, f"set_{name}")(DEFAULTS[name])
    if told:
        warnings.warn(told, stacklevel=2)


class _FirstImport(importlib.abc.MetaPathFinder):
    """Hides the settings file from Keras while it is imported for the first time, and tells what was not used."""

    def __init__(self, told: str) -> None:
        self._told = told

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """The specification of Keras whose loader is accompanied; None for all else.

        Who only asks whether Keras is there gets it too: the import may still come.
        """
        if name != "keras":
            return None
        others = (finder.find_spec(name, path, target) for finder in list(sys.meta_path) if finder is not self)
        spec = next((found for found in others if found is not None), None)
        if spec is None or spec.loader is None:
            return spec
        execute = spec.loader.exec_module

        def accompanied(module: ModuleType) -> None:
            with _hidden_settings():
                execute(module)
            if self in sys.meta_path:
                sys.meta_path.remove(self)
            if self._told:
                warnings.warn(self._told, stacklevel=2)

        spec.loader.exec_module = accompanied  # type: ignore[method-assign]
        return spec


def _counts(name: str) -> bool:
    return bool(os.environ.get(name)) and os.environ[name] != _HARMLESS.get(name)


def _settings_file() -> Path:
    home = os.environ.get("KERAS_HOME")
    if home is None:
        home = os.path.join(
            os.path.expanduser("~") if os.access(os.path.expanduser("~"), os.W_OK) else "/tmp", ".keras"
        )
    return Path(os.path.expanduser(os.path.join(home, "keras.json")))


def _read(path: Path) -> tuple[dict[str, Any], str]:
    """The settings of a file, and what Keras would end with at it, if it would."""
    try:
        found = json.loads(path.read_text())
    except (FileNotFoundError, NotADirectoryError):
        return {}, ""
    except OSError as error:
        return {}, f"{path}, which cannot be read ({error.strerror})"
    except ValueError:
        return {}, f"{path}, which is not JSON"
    if not isinstance(found, dict):
        return {}, f"{path}, which is not a JSON object"
    settings = {name: found[name] for name in DEFAULTS if name in found}
    wrong = (
        settings.get("floatx", "float32") not in ("float16", "float32", "float64")
        or not isinstance(settings.get("epsilon", 1e-7), float)
        or settings.get("image_data_format", "channels_last") not in ("channels_last", "channels_first")
        or bool(settings.get("nnx_enabled"))
    )
    return (settings, f"{path}, which Keras rejects") if wrong else (settings, "")


@contextlib.contextmanager
def _hidden_settings() -> Iterator[None]:
    before = os.environ.get("KERAS_HOME")
    os.environ["KERAS_HOME"] = _NOWHERE
    try:
        yield
    finally:
        if before is None:
            del os.environ["KERAS_HOME"]
        else:
            os.environ["KERAS_HOME"] = before


def _check_imported() -> None:
    """Raises ImportError if another part of the program has imported Keras or TensorFlow otherwise."""
    try:
        import keras
        import tensorflow as tf
    except (ImportError, ValueError) as error:
        if "keras.src.backend.config" in sys.modules:
            raise ImportError(
                _LATE.format(f"Keras was imported first and could not load its backend: {error}")
            ) from error
        raise
    if keras.backend.backend() != DEFAULTS["backend"]:
        raise ImportError(_LATE.format(f"Keras was imported first with the backend {keras.backend.backend()}"))
    if not tf.compat.v1.executing_eagerly_outside_functions():
        raise ImportError(_LATE.format("TensorFlow was imported first with the behaviour of version 1"))


def import_regardless_of_backend() -> None:
    """Imports matplotlib; a backend in `MPLBACKEND` that is not there is passed over, and stays in the variable."""
    try:
        importlib.import_module("matplotlib")
    except ValueError:
        backend = os.environ.pop("MPLBACKEND", None)
        if backend is None:
            raise
        try:
            importlib.import_module("matplotlib")
        finally:
            os.environ["MPLBACKEND"] = backend


_LATE = "cml_tf needs Keras on TensorFlow 2. {}. Restart Python and import cml_tf first."

apply()

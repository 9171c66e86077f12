"""Nothing in the product unpickles, evaluates or runs what it reads, but for one unpickler that can name nothing."""

import ast
import json
from pathlib import Path

import numpy as np
import pytest

from cml_tf.errors import UserError
from cml_tf.models.model_files import read_model

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("cml_tf", "export", "configs", "tools", "examples", "benchmarks")
# By the last name of what is called; with an argument, only where that has this value.
REFUSED = {
    ("eval", None, None),
    ("exec", None, None),
    ("compile", None, None),
    ("__import__", None, None),
    ("Unpickler", None, None),
    ("read_pickle", None, None),
    ("full_load", None, None),
    ("unsafe_load", None, None),
    ("enable_unsafe_deserialization", None, None),
    ("load", "allow_pickle", True),
    ("load_model", "safe_mode", False),
    ("deserialize_keras_object", "safe_mode", False),
    ("load_weights", "allow_pickle", True),
    ("run", "shell", True),
    ("Popen", "shell", True),
    ("mktemp", None, None),
}
MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve", "jsonpickle", "torch"}
# The restricted unpickler; the peers that are measured beside ours; compiling is Keras' word for something else.
ADMITTED = {
    "cml_tf/datasets/storage/pickles.py": {"pickle", "Unpickler"},
    "cml_tf/training/callback_state.py": {"compile"},
    "cml_tf/datasets/graphs/tables.py": {"compile"},
}
_OF_EXPRESSIONS = {"re", "regex"}


def sources():
    return [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))]


def faults(tree):
    """What a module uses of the refused."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            yield from {name.split(".")[0] for name in names} & MODULES
        elif isinstance(node, ast.Attribute) and node.attr == "Unpickler":
            yield "Unpickler"
        elif isinstance(node, ast.Call):
            name = getattr(node.func, "attr", getattr(node.func, "id", ""))
            owner = getattr(getattr(node.func, "value", None), "id", "")
            values = {word.arg: getattr(word.value, "value", None) for word in node.keywords}
            for called, argument, value in REFUSED:
                if (
                    name == called
                    and owner not in _OF_EXPRESSIONS
                    and (argument is None or values.get(argument) is value)
                ):
                    yield name
            if (owner, name) in {("os", "system"), ("os", "popen")}:
                yield f"os.{name}"
            if (owner, name) == ("yaml", "load") and getattr(values.get("Loader"), "attr", "") != "SafeLoader":
                yield "yaml.load"
            if (owner, name) in {("np", "load"), ("numpy", "load")} and values.get("allow_pickle") is not False:
                yield "np.load without allow_pickle=False"


def test_no_loader_unpickles_or_runs_what_it_reads():
    assert len(sources()) > 300
    for path in sources():
        place = path.relative_to(ROOT).as_posix()
        if place.startswith("benchmarks/peers/") or place.startswith("benchmarks/performance/"):
            continue
        found = set(faults(ast.parse(path.read_text(encoding="utf-8")))) - ADMITTED.get(place, set())
        assert not found, f"{place} uses {found}: read data without running them (SECURITY.md)."


@pytest.mark.parametrize(
    "code",
    ["import pickle", "from pickle import loads", "eval('1')", "np.load(f, allow_pickle=True)", "np.load(f)"]
    + ["yaml.load(f)", "keras.models.load_model(f, safe_mode=False)", "subprocess.run(c, shell=True)", "import torch"],
)
def test_what_is_refused_is_found(code):
    assert list(faults(ast.parse(code)))
    assert not list(faults(ast.parse("re.compile('a'); np.load(f, allow_pickle=False); subprocess.run(c)")))


LAMBDA = {"class_name": "__lambda__", "config": {"code": "4wEAAAA=", "defaults": None, "closure": None}}
GADGETS = {
    "a Lambda layer": {"module": "keras.layers", "class_name": "Lambda", "config": {"name": "a", "function": LAMBDA}},
    "a function of os": {"module": "os", "class_name": "function", "config": "system"},
    "a class of subprocess": {"module": "subprocess", "class_name": "Popen", "config": {"args": ["touch", "made"]}},
    "a builtin": {"module": "builtins", "class_name": "function", "config": "eval"},
    "a downloader": {
        "module": "keras.layers",
        "class_name": "Lambda",
        "config": {
            "name": "a",
            "function": {"module": "keras.utils", "class_name": "function", "config": "get_file"},
            "arguments": {"origin": "http://127.0.0.1:1/x"},
        },
    },
    "a vocabulary that is a file": {
        "module": "keras.layers",
        "class_name": "StringLookup",
        "config": {"name": "a", "vocabulary": "/etc/passwd"},
    },
}


@pytest.mark.parametrize("part", ["extractor", "head"])
@pytest.mark.parametrize("gadget", GADGETS)
def test_a_saved_model_names_no_code(tmp_path, monkeypatch, gadget, part):
    """`model.json` is from a stranger: it may name layers, and nothing else that could be called."""
    monkeypatch.chdir(tmp_path)
    description = {
        "format": 2,
        "problem": {"kind": "regression", "outputs": 1},
        "extractor": None,
        "head": None,
        "input_shape": [1],
        "input_dtype": "float32",
        "node_features": None,
        "value_range": None,
        "rule": None,
    }
    (tmp_path / "model.json").write_text(json.dumps({**description, part: GADGETS[gadget]}))
    np.savez(tmp_path / "variables.npz")
    with pytest.raises(UserError, match=r"model\.json cannot be loaded"):
        read_model(tmp_path)
    assert not (tmp_path / "made").exists()

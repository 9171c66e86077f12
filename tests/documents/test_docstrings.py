"""What is public has an example in its docstring, and every example runs and gives what it says."""

import doctest
import importlib
import inspect
from typing import Any

import keras
import numpy as np
import pytest

import cml_tf
from tests.helpers.canned_server import canned
from tests.helpers.few_shot import IMAGE_SHAPE, image_model

# Packages whose `__all__` must have examples; further ones are added here.
FACES = ("cml_tf", "cml_tf.bilevel", "cml_tf.datasets", "cml_tf.learners", "cml_tf.models", "export.client")
# Rooms that a face shows members of before they have examples of their own.
LATER = ("cml_tf.training",)
# Modules with examples that no face shows.
FURTHER = ("cml_tf.objectives.reducers", "cml_tf.training.schedule", "cml_tf.system.lazy")
NAMES = ["alpha", "beta", "gamma"]


def public() -> dict[str, Any]:
    """Classes and functions of the faces, each once, by the name of its home."""
    found = {}
    for face in FACES:
        module = importlib.import_module(face)
        for name in module.__all__:
            member = getattr(module, name)
            if (inspect.isclass(member) or inspect.isfunction(member)) and not member.__module__.startswith(LATER):
                found[f"{member.__module__}.{name}"] = member
    return found


PUBLIC = public()


@pytest.fixture(scope="module")
def surroundings(tmp_path_factory):
    """Names that examples may use, and a folder with a saved model: pictures of letters, and who knows them."""
    folder = tmp_path_factory.mktemp("examples")
    image_model().save(folder / "letters")
    pictures = np.random.default_rng(0).uniform(0, 1, (7, *IMAGE_SHAPE)).astype(np.float32)
    with canned(IMAGE_SHAPE, ways=3) as address:
        names = {"images": pictures[:3], "names": NAMES, "questions": pictures[3:], "address": address}
        yield folder, {"cml_tf": cml_tf, "keras": keras, "np": np, **names}


def run(member: Any, name: str, names: dict[str, Any]) -> doctest.TestResults:
    """Runs the examples of one docstring; what its module knows, they know too."""
    known = {**vars(inspect.getmodule(member)), **face_of(member), **names}
    found = doctest.DocTestFinder(recurse=False).find(member, name, globs=known)
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS)
    for test in found:
        runner.run(test)
    return runner.summarize(verbose=False)


def face_of(member: Any) -> dict[str, Any]:
    faces = [face for face in FACES if member.__module__.startswith(f"{face}.")]
    module = importlib.import_module(max(faces, key=len, default="cml_tf"))
    return {name: getattr(module, name) for name in module.__all__}


@pytest.mark.parametrize("name", sorted(PUBLIC))
def test_examples_run(name, surroundings, monkeypatch, capsys):
    folder, names = surroundings
    monkeypatch.chdir(folder)
    assert "Example:" in (PUBLIC[name].__doc__ or ""), f"{name} has no Example in its docstring."
    results = run(PUBLIC[name], name, names)
    assert results.attempted, f"{name} has an Example without a line to run."
    assert not results.failed, capsys.readouterr().out


@pytest.mark.parametrize("name", FURTHER)
def test_examples_of_modules_run(name):
    assert doctest.testmod(importlib.import_module(name)).failed == 0


def test_a_wrong_example_would_be_noticed(capsys):
    def wrong():
        """Adds.

        >>> 1 + 1
        3
        """

    assert run(wrong, "wrong", {}).failed == 1
    assert "Expected" in capsys.readouterr().out

"""What is public has an example in its docstring, and every example runs and gives what it says."""

import doctest
import importlib
import inspect
import re
from collections.abc import Container
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

import cml_tf
from cml_tf.adaptation import SGD, GradientDescent, InnerLoop, Reverse
from cml_tf.learners import mlp
from cml_tf.objectives import QueryLoss, TaskOutcome
from cml_tf.training.method import Method
from tests.helpers.canned_server import canned
from tests.helpers.few_shot import IMAGE_SHAPE, image_model
from tests.helpers.programs import ROOT

# Packages whose `__all__` must have examples; further ones are added here.
FACES = ("cml_tf", "cml_tf.bilevel", "cml_tf.datasets", "cml_tf.learners", "cml_tf.models", "export.client")
# Rooms whose classes must have examples. These may use what any of them shows: a rule is nothing without a learner.
ROOMS = (
    "cml_tf.adaptation",
    "cml_tf.graphs",
    "cml_tf.objectives",
    "cml_tf.readouts",
    "cml_tf.readouts.confidence",
    "cml_tf.registry",
)
# "Example: that of `QueryLoss`.": a base class, or a record that another example makes anyway.
ELSEWHERE = re.compile(r"Example: (?:in )?that of `(\w+)`")
# Their examples draw all glyphs.
SLOW = ("cml_tf.datasets.varying_sizes",)
NAMES = ["alpha", "beta", "gamma"]


def shown(package: str) -> dict[str, Any]:
    module = importlib.import_module(package)
    return {name: getattr(module, name) for name in module.__all__}


def public() -> dict[str, Any]:
    """What must have an example, each once, by the name of its home."""
    found = {}
    for package in (*FACES, *ROOMS):
        for name, member in shown(package).items():
            if inspect.isclass(member) or (inspect.isfunction(member) and package in FACES):
                found[f"{member.__module__}.{name}"] = member
    return found


def modules_with_examples() -> list[Any]:
    """All modules of the library and of the client in whose text there is an example."""
    paths = [path for folder in ("cml_tf", "export/client") for path in (ROOT / folder).rglob("*.py")]
    texts = {".".join(path.relative_to(ROOT).with_suffix("").parts): path.read_text() for path in paths}
    found = sorted(name.removesuffix(".__init__") for name, text in texts.items() if ">>> " in text)
    return [pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name for name in found]


PUBLIC = public()


class Kept(Reverse):
    """Keeps the inner loop that it was given last."""

    loop: InnerLoop

    def solve(self, loop):
        self.loop = loop
        return super().solve(loop)


def one_task() -> dict[str, Any]:
    """A learner, a task of two classes, the inner loop that adapted to it, and what came of it."""
    learner, problem, random = mlp(2, (3,), hidden=(4,)), cml_tf.Classification(2), np.random.default_rng(0)
    support, query = (
        cml_tf.Examples(tf.constant(random.normal(size=(count, 3)), tf.float32), tf.range(count) % 2)
        for count in (4, 6)
    )
    rule = GradientDescent(problem, SGD(0.1), steps=2, hypergradient=Kept())
    method = Method.of(learner, rule, [QueryLoss(problem)])
    outcome: TaskOutcome = method.outcome(method.initial(), cml_tf.Episode(support, query))
    return {"learner": learner, "support": support, "query": query, "outcome": outcome, "loop": rule.hypergradient.loop}


@pytest.fixture(scope="module")
def surroundings(tmp_path_factory):
    """Names that examples may use, and a folder with a saved model: pictures of letters, and who knows them."""
    folder = tmp_path_factory.mktemp("examples")
    image_model().save(folder / "letters")
    pictures = np.random.default_rng(0).uniform(0, 1, (7, *IMAGE_SHAPE)).astype(np.float32)
    with canned(IMAGE_SHAPE, ways=3) as address:
        names = {"images": pictures[:3], "names": NAMES, "questions": pictures[3:], "address": address}
        yield folder, {"cml_tf": cml_tf, "keras": keras, "np": np, "tf": tf, **names}, one_task()


def run(member: Any, name: str, names: dict[str, Any], skipped: Container[str] = ()) -> doctest.TestResults:
    """Runs the examples of one docstring, or all of a module; what their module knows, they know too."""
    known = {**vars(inspect.getmodule(member)), **names}
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS)
    for test in doctest.DocTestFinder(recurse=inspect.ismodule(member)).find(member, name, globs=known):
        if test.name not in skipped:
            runner.run(test)
    return runner.summarize(verbose=False)


def names_for(module: str, surroundings: Any) -> dict[str, Any]:
    """What examples of a module may use besides: what its face shows, or all rooms do."""
    _, names, task = surroundings
    faces = [face for face in FACES if module.startswith(f"{face}.")]
    face = max(faces, key=len, default="cml_tf")
    if face != "cml_tf":
        return {**shown(face), **names}
    rooms = {name: member for room in ("cml_tf.learners", *ROOMS) for name, member in shown(room).items()}
    # The face has recipes of the same names as what they make.
    return {**shown(face), **rooms, **names, **task}


@pytest.mark.parametrize("name", sorted(PUBLIC))
def test_examples_run(name, surroundings, monkeypatch, capsys):
    monkeypatch.chdir(surroundings[0])
    text = PUBLIC[name].__doc__ or ""
    assert "Example:" in text, f"{name} has no Example in its docstring."
    if elsewhere := ELSEWHERE.search(text):
        found = [other.__doc__ for home, other in PUBLIC.items() if home.endswith(f".{elsewhere[1]}")]
        assert ">>> " in "".join(found), f"{elsewhere[1]}, which {name} points at, has no example."
        return
    results = run(PUBLIC[name], name, names_for(PUBLIC[name].__module__, surroundings))
    assert results.attempted, f"{name} has an Example without a line to run."
    assert not results.failed, capsys.readouterr().out


@pytest.mark.parametrize("name", modules_with_examples())
def test_examples_that_no_face_shows_run(name, surroundings, monkeypatch, capsys):
    monkeypatch.chdir(surroundings[0])
    results = run(importlib.import_module(name), name, names_for(name, surroundings), skipped=PUBLIC)
    assert not results.failed, capsys.readouterr().out


def test_a_wrong_example_would_be_noticed(capsys):
    def wrong():
        """Adds.

        >>> 1 + 1
        3
        """

    assert run(wrong, "wrong", {}).failed == 1
    assert "Expected" in capsys.readouterr().out

"""Exports that several test files look at; made once."""

import fcntl
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from cml_tf.experiments import presets
from cml_tf.experiments.runs import train_run
from tests.export.served import Served, saved
from tests.export.server.conformance.make_models import MODELS, config_text, write_halvers
from tests.export.server.running import running_once
from tests.helpers.drawn_images import write_classes
from tests.helpers.precision import precision
from tests.helpers.random_graphs import random_graph


def _shared(tmp_path_factory) -> Path:
    """The directory of all workers of this run."""
    directory = tmp_path_factory.getbasetemp()
    return directory.parent if "PYTEST_XDIST_WORKER" in os.environ else directory


def made_once(name, make):
    """A fixture: what `make` gives for a directory of all workers, in which one works at a time."""

    @pytest.fixture(scope="session", name=name)
    def fixture(tmp_path_factory):
        root = _shared(tmp_path_factory)
        with (root / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            return make(root / name)

    return fixture


FLAGS = ("--max_message_bytes=4000000", "--enable_grpc_healthcheck_service")
images, waves, nodes, judged, free, bounded, small = (
    made_once(name, lambda root, make=make: saved(make(), root / "1")) for name, make in MODELS.items()
)


@pytest.fixture(params=["images", "waves", "nodes"])
def served(request) -> Served:
    """Each of them."""
    return request.getfixturevalue(request.param)


def _run(root, configuration):
    """The directory of a run, trained unless it is there."""
    if not (root / "run").exists():
        root.mkdir()
        with precision():
            train_run(configuration(root), root / "run", verbose=0)
    return root / "run"


def _of_waves(root):
    """CML regression."""
    del root
    config = presets.sinusoid("5shot,smoke")
    config.learner.hidden = (8,)
    return config


def _of_images(root):
    """A CML classifier of pictures in folders, whose normalisation is over the batch."""
    for split in ("train", "validation", "test"):
        write_classes(root / split, [f"{split} {name}" for name in ("ant", "bee", "cat", "dog")], images=4)
    config = presets.images("glyphs", "mlp,3way,smoke,first_order")
    with config.unlocked():
        config.dataset.update({"name": "image_folder", "root": str(root), "image_size": (16, 16), "channels": 1})
        config.dataset.queries = config.eval.queries = 2
        config.learner.update({"hidden": (8,), "normalisation": "batch_transductive"})
    return config


def _of_nodes(root):
    """A CML classifier of nodes of a graph in a file, SGC with prototypes."""
    graph = random_graph(nodes=80, features=9, classes=6)
    edges = np.argwhere(graph.adjacency.toarray())
    np.savez(root / "graph.npz", features=graph.features.toarray(), edges=edges, labels=graph.labels)
    config = presets.nodes("graph", "2shot,smoke,meta_gnn,g_meta")
    with config.unlocked():
        config.dataset.update({"root": str(root), "normalise_features": True})
        config.adaptation.update({"steps": 1, "eval_steps": 1})
    return config


wave_run, image_run, node_run = (
    made_once(name, lambda root, make=make: _run(root, make))
    for name, make in {"wave_run": _of_waves, "image_run": _of_images, "node_run": _of_nodes}.items()
)


@pytest.fixture(scope="session")
def server(tmp_path_factory, waves, images, nodes, judged, free, bounded, small):
    """One server for all tests that do not change it, of all workers.

    It serves `halver` (versions 1 and 2, label `first`), a few-shot regression, classifiers of
    images (`judged` with a confidence, `free` for any number of classes), of nodes and of vectors (`small`, with
    compact states); `bounded` is the regression with steps and rate to be set.
    """
    root = _shared(tmp_path_factory) / "server"
    made = {"waves": waves, "images": images, "nodes": nodes, "judged": judged, "free": free}
    made |= {"bounded": bounded, "small": small}
    places = {name: one.directory.parent for name, one in made.items()}

    def flags():
        (root / "models.config").write_text(config_text({**places, "halver": write_halvers(root / "halver")}))
        return (f"--model_config_file={root / 'models.config'}", *FLAGS)

    with running_once(root, flags) as one:
        yield one


@pytest.fixture(scope="module")
def browser():
    """Headless Chromium, closed with its module: while playwright's loop runs, asyncio.run fails in that thread."""
    executable = shutil.which("chromium")
    if executable is None:
        pytest.skip("no chromium on PATH (Debian: apt-get install chromium)")
    # Each worker would import it for a second, and one uses it.
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=executable)
        yield browser
        browser.close()

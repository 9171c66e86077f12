"""Exports that several test files look at; made once."""

import fcntl
import os
import shutil

import numpy as np
import pytest
from playwright.sync_api import sync_playwright

from cml_tf.experiments import presets
from cml_tf.experiments.runs import train_run
from tests.export.served import (
    Served,
    bounded_model,
    free_model,
    judged_model,
    node_model,
    recorded_image_model,
    saved,
    small_model,
    wave_model,
)
from tests.export.server.conformance.make_models import config_text, write_halvers
from tests.export.server.running import running
from tests.helpers.drawn_images import write_classes
from tests.helpers.precision import precision
from tests.helpers.random_graphs import random_graph


def _saved(name, make):
    """A model that the first of all workers saves, and every one loads."""

    @pytest.fixture(scope="session", name=name)
    def fixture(tmp_path_factory) -> Served:
        directory = tmp_path_factory.getbasetemp()
        root = directory.parent if "PYTEST_XDIST_WORKER" in os.environ else directory
        with (root / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            return saved(make(), root / name / "1")

    return fixture


MODELS = {
    **{
        "images": recorded_image_model,
        "waves": wave_model,
        "nodes": node_model,
        "judged": judged_model,
        "free": free_model,
    },
    **{"bounded": bounded_model, "small": small_model},
}
images, waves, nodes, judged, free, bounded, small = (_saved(*row) for row in MODELS.items())


@pytest.fixture(params=["images", "waves", "nodes"])
def served(request) -> Served:
    """Each of them."""
    return request.getfixturevalue(request.param)


def _run(config, directory):
    with precision():
        train_run(config, directory, verbose=0)
    return directory


@pytest.fixture(scope="session")
def wave_run(tmp_path_factory):
    """The directory of a trained CML regression."""
    return _run(presets.sinusoid("5shot,smoke"), tmp_path_factory.mktemp("runs") / "waves")


@pytest.fixture(scope="session")
def image_run(tmp_path_factory):
    """The directory of a trained CML classifier of pictures in folders."""
    root = tmp_path_factory.mktemp("pictures")
    for split in ("train", "validation", "test"):
        write_classes(root / split, [f"{split} {name}" for name in ("ant", "bee", "cat", "dog")], images=4)
    config = presets.images("glyphs", "3way,smoke,first_order")
    with config.unlocked():
        config.dataset.update({"name": "image_folder", "root": str(root), "image_size": (16, 16), "channels": 1})
        config.dataset.queries = config.eval.queries = 2
    return _run(config, tmp_path_factory.mktemp("runs") / "pictures")


@pytest.fixture(scope="session")
def node_run(tmp_path_factory):
    """The directory of a trained CML classifier of nodes of a graph in a file, SGC with prototypes."""
    root, graph = tmp_path_factory.mktemp("graph"), random_graph(nodes=80, features=9, classes=6)
    edges = np.argwhere(graph.adjacency.toarray())
    np.savez(root / "graph.npz", features=graph.features.toarray(), edges=edges, labels=graph.labels)
    config = presets.nodes("graph", "2shot,smoke,meta_gnn,g_meta")
    with config.unlocked():
        config.dataset.update({"root": str(root), "normalise_features": True})
        config.adaptation.update({"steps": 1, "eval_steps": 1})
    return _run(config, tmp_path_factory.mktemp("runs") / "papers")


@pytest.fixture(scope="session")
def server(tmp_path_factory, waves, images, nodes, judged, bounded, small):
    """One server for all tests that do not change it.

    It serves `halver` (versions 1 and 2, label `first`), a few-shot regression, classifiers of
    images (`judged` with a confidence), of nodes and of vectors (`small`, with compact states); `bounded` is the
    regression with steps and rate to be set.
    """
    root = tmp_path_factory.mktemp("served")
    made = {"waves": waves, "images": images, "nodes": nodes, "judged": judged, "bounded": bounded, "small": small}
    places = {name: one.directory.parent for name, one in made.items()}
    config = root / "models.config"
    config.write_text(config_text({**places, "halver": write_halvers(root / "halver")}))
    flags = [f"--model_config_file={config}", "--max_message_bytes=4000000", "--enable_grpc_healthcheck_service"]
    with running(*flags, log=root / "log") as running_server:
        yield running_server


@pytest.fixture(scope="session")
def browser():
    """Headless Chromium."""
    executable = shutil.which("chromium")
    if executable is None:
        pytest.skip("no chromium on PATH (Debian: apt-get install chromium)")
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=executable)
        yield browser
        browser.close()

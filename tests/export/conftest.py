"""Exports that several test files look at; made once."""

from __future__ import annotations

import numpy as np
import pytest

from cml_tf.experiments import presets
from cml_tf.experiments.runs import train_run
from tests.export.served import Served, image_model, in_process, node_model, saved, wave_model
from tests.export.server.conformance.make_models import config_text
from tests.export.server.running import running
from tests.export.server.tiny_models import write_halver
from tests.helpers.drawn_images import write_classes
from tests.helpers.precision import precision
from tests.helpers.random_graphs import random_graph


@pytest.fixture(scope="session")
def images(tmp_path_factory) -> Served:
    """A saved and loaded classifier of images."""
    return saved(image_model(), tmp_path_factory.mktemp("images") / "1")


@pytest.fixture(scope="session")
def waves(tmp_path_factory) -> Served:
    """A saved and loaded regression."""
    return saved(wave_model(), tmp_path_factory.mktemp("waves") / "1")


@pytest.fixture(scope="session")
def nodes(tmp_path_factory) -> Served:
    """A saved and loaded classifier of nodes."""
    return saved(node_model(), tmp_path_factory.mktemp("nodes") / "1")


@pytest.fixture(scope="session")
def images_by_support() -> Served:
    """A classifier whose normalisation carries the statistics of the support set."""
    return in_process(image_model("support"))


@pytest.fixture(scope="session")
def wave_run(tmp_path_factory):
    """The directory of a trained CML regression."""
    directory = tmp_path_factory.mktemp("runs") / "waves"
    with precision():
        train_run(presets.sinusoid("5shot,smoke"), directory, verbose=0)
    return directory


@pytest.fixture(scope="session")
def image_run(tmp_path_factory):
    """The directory of a trained CML classifier of pictures in folders."""
    root = tmp_path_factory.mktemp("pictures")
    for split in ("train", "validation", "test"):
        write_classes(root / split, [f"{split} {name}" for name in ("ant", "bee", "cat", "dog")], images=4)
    config = presets.images("glyphs", "3way,smoke")
    with config.unlocked():
        config.dataset.update({"name": "image_folder", "root": str(root), "image_size": (16, 16), "channels": 1})
        config.dataset.queries = config.eval.queries = 2
    directory = tmp_path_factory.mktemp("runs") / "pictures"
    with precision():
        train_run(config, directory, verbose=0)
    return directory


@pytest.fixture(scope="session")
def node_run(tmp_path_factory):
    """The directory of a trained CML classifier of nodes of a graph in a file, SGC with prototypes."""
    root = tmp_path_factory.mktemp("graph")
    graph = random_graph(nodes=80, features=9, classes=6)
    edges = np.argwhere(graph.adjacency.toarray())
    np.savez(root / "graph.npz", features=graph.features.toarray(), edges=edges, labels=graph.labels)
    config = presets.nodes("graph", "2shot,smoke,meta_gnn,g_meta")
    with config.unlocked():
        config.dataset.update({"root": str(root), "normalise_features": True})
        config.adaptation.update({"steps": 1, "eval_steps": 1})
    directory = tmp_path_factory.mktemp("runs") / "papers"
    with precision():
        train_run(config, directory, verbose=0)
    return directory


@pytest.fixture(scope="session")
def server(tmp_path_factory, waves, images, nodes):
    """One server for all tests that do not change it.

    It serves `halver` (versions 1 and 2, label `first`), a few-shot regression, and classifiers of images and of nodes.
    """
    root = tmp_path_factory.mktemp("served")
    (root / "halver").mkdir()
    for number in (1, 2):
        write_halver(root / "halver" / str(number), float(number))
    places = {"halver": root / "halver"}
    places |= {name: made.directory.parent for name, made in (("waves", waves), ("images", images), ("nodes", nodes))}
    config = root / "models.config"
    config.write_text(config_text(places))
    flags = [f"--model_config_file={config}", "--max_message_bytes=4000000", "--enable_grpc_healthcheck_service"]
    with running(*flags, log=root / "log") as running_server:
        yield running_server

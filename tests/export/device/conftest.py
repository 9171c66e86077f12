"""A small model as a LiteRT file, written once."""

import functools
import http.server
import threading

import pytest

from cml_tf.adaptation import SGD
from cml_tf.learners import mlp
from cml_tf.problems import Classification
from export.device.exporting import write_for_device
from export.requests.form import Bucket
from tests.export.conftest import made_once
from tests.export.forked_gate import forked_gate
from tests.export.served import WAYS, exportable

SIZES = Bucket(6, 4)


def _letters():
    """MAML on vectors, with ReLU: gradients of everything."""
    return exportable(mlp(WAYS, (2, 2, 1), hidden=(4, 4)), Classification(WAYS), SGD(0.1), 2)


def _letters_file(root):
    """Its file."""
    file = root / "letters.tflite"
    if not file.exists():
        root.mkdir()
        with forked_gate():
            write_for_device(_letters(), SIZES, file, {"rule": "sgd"})
    return file


letters = pytest.fixture(scope="session", name="letters")(_letters)
letters_file = made_once("letters_file", _letters_file)


@pytest.fixture
def given_out():
    """Gives the files of a folder out as any web server does; the address of that."""
    servers = []

    def give_out(folder):
        handler = functools.partial(Silent, directory=folder)
        servers.append(http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler))
        threading.Thread(target=servers[-1].serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{servers[-1].server_address[1]}"

    yield give_out
    for server in servers:
        server.shutdown()
        server.server_close()


class Silent(http.server.SimpleHTTPRequestHandler):
    """Says nothing of its requests."""

    def log_message(self, *args):
        del args

"""A client over REST neither loads TensorFlow nor needs it to be there."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.helpers.drawn_images import encoded, pixels
from tests.helpers.programs import ROOT, environment

# Where a module is None, importing it fails: nothing can have loaded it and hidden that again.
_WITHOUT = """
import sys
from pathlib import Path

for name in ("tensorflow", "grpc", "matplotlib"):
    sys.modules[name] = None
from export.client import Adapted, FewShotClient

client = FewShotClient(sys.argv[1], sys.argv[2])
folder = Path(sys.argv[3])
"""
_NUMBERS = """
adapted = client.adapt([[0.5], [1.0]], [0.1, 0.2])
adapted.save(folder / "task.npz")
answer = client.predict(Adapted.load(folder / "task.npz"), [[0.7]])
whole = client.adapt_and_predict([[0.5], [1.0]], [0.1, 0.2], [[0.7]])
assert abs(answer.values - whole.values).max() < 1e-5
print(answer.values.shape)
"""
_FILES = """
files = [path.read_bytes() for path in sorted(folder.glob("*/*.png"))]
names = [path.parent.name for path in sorted(folder.glob("*/*.png"))]
print(client.adapt_and_predict(files, names, files[:1]).values.shape)
"""
_FOLDERS = """
from export.client.examples import read_queries, read_support

support = read_support(folder)
answer = client.adapt_and_predict(support.inputs, support.targets, read_queries(folder).inputs)
print(answer.values.shape)
"""

_APART = """
from export.client import ClientError

try:
    client.adapt([path.read_bytes() for path in sorted(folder.glob("*/*.png"))], ["ant", "bee"])
except ClientError as error:
    print(error)
"""


def run(program: str, *arguments: str) -> str:
    command = [sys.executable, "-c", program, *arguments]
    done = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture
def pictures(tmp_path, images):
    """A folder with a folder for each of two classes."""
    height, width, channels = images.model.input_shape
    for seed, name in enumerate(("ant", "bee")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "0.png").write_bytes(encoded(pixels(seed, (height, width), channels)))
    return tmp_path


def test_arrays(server, tmp_path):
    assert run(_WITHOUT + _NUMBERS, f"http://127.0.0.1:{server.rest_port}", "waves", str(tmp_path)) == "(1, 1)"


@pytest.mark.parametrize(("program", "shape"), [(_FILES, (1, 2)), (_FOLDERS, (2, 2))], ids=["files", "folders"])
def test_image_files(server, pictures, program, shape):
    found = run(_WITHOUT + program, f"http://127.0.0.1:{server.rest_port}", "images", str(pictures))
    assert found == str(shape)


def test_files_apart_say_what_they_need(server, pictures):
    found = run(_WITHOUT + _APART, f"http://127.0.0.1:{server.rest_port}", "images", str(pictures))
    assert "which is not installed: use adapt_and_predict" in found


def test_its_programs(server, pictures):
    code = "import runpy, sys; sys.modules['tensorflow'] = None; runpy.run_module(sys.argv.pop(1), run_name='__main__')"
    out = run(
        code,
        "export.client.predict",
        f"--address=http://127.0.0.1:{server.rest_port}",
        "--model=images",
        f"--support={pictures}",
        f"--query={pictures}",
    )
    assert "ant/0.png" in out


def test_the_package_loads_nothing_before_it_is_used():
    assert run("import sys, cml_tf, cml_tf.datasets; print('tensorflow' in sys.modules, 'keras' in sys.modules)") == (
        "False False"
    )
    assert run("import cml_tf; print('conv4' in dir(cml_tf), 'load' in dir(cml_tf.datasets))") == "True True"
    assert run("import cml_tf; print(cml_tf.datasets.load('sinusoid').problem_kind)").endswith("regression")

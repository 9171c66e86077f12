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
_PICTURES = """
from export.client import ClientError
from export.client.examples import read_queries, read_support

support = read_support(folder)
files = [path.read_bytes() for path in sorted(folder.glob("*/*.png"))]
print(client.adapt_and_predict(files, support.targets, files[:1]).values.shape)
print(client.adapt_and_predict(support.inputs, support.targets, read_queries(folder).inputs).values.shape)
try:
    client.adapt(files, support.targets)
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


def test_image_files_and_folders_and_what_files_apart_need(server, pictures):
    found = run(_WITHOUT + _PICTURES, f"http://127.0.0.1:{server.rest_port}", "images", str(pictures))
    assert found.splitlines()[:2] == ["(1, 2)", "(2, 2)"]
    assert "needs TensorFlow: install it, use adapt_and_predict" in found


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
    loaded = "print('tensorflow' in sys.modules, 'keras' in sys.modules)"
    known = "print('conv4' in dir(cml_tf), 'load' in dir(cml_tf.datasets))"
    used = "print(cml_tf.datasets.load('sinusoid').problem_kind)"
    found = run(f"import sys, cml_tf, cml_tf.datasets; {loaded}; {known}; {used}").splitlines()
    assert found[:2] == ["False False", "True True"] and found[-1].endswith("regression")

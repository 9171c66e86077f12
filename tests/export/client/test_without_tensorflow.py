"""A client over REST neither loads TensorFlow nor needs it to be there."""

from tests.helpers.drawn_images import write_classes
from tests.helpers.programs import run_python

# Where a module is None, importing it fails: nothing can have loaded it and hidden that again.
_CLIENT = """
import runpy, sys
from pathlib import Path

for name in ("tensorflow", "grpc", "matplotlib"):
    sys.modules[name] = None
from export.client import Adapted, ClientError, FewShotClient
from export.client.examples import read_queries, read_support

address, folder = sys.argv[1], Path(sys.argv[2])
client = FewShotClient(address, "waves")
adapted = client.adapt([[0.5], [1.0]], [0.1, 0.2])
adapted.save(folder / "task.npz")
answer = client.predict(Adapted.load(folder / "task.npz"), [[0.7]])
whole = client.adapt_and_predict([[0.5], [1.0]], [0.1, 0.2], [[0.7]])
assert abs(answer.values - whole.values).max() < 1e-5 and answer.values.shape == (1, 1)

client, pictures = FewShotClient(address, "images"), folder / "pictures"
support = read_support(pictures)
files = [path.read_bytes() for path in sorted(pictures.glob("*/*.png"))]
assert client.adapt_and_predict(files, support.targets, files[:1]).values.shape == (1, 2)
assert client.adapt_and_predict(support.inputs, support.targets, read_queries(pictures).inputs).values.shape == (2, 2)
try:
    client.adapt(files, support.targets)
except ClientError as error:
    assert "needs TensorFlow: install it, use adapt_and_predict" in str(error)
else:
    raise AssertionError("only TensorFlow can prepare the files")

sys.argv[1:] = [f"--address={address}", "--model=images", f"--support={pictures}", f"--query={pictures}"]
runpy.run_module("export.client.predict", run_name="__main__")
"""
_LAZY = """
import sys, cml_tf, cml_tf.datasets

assert not {"tensorflow", "keras"} & sys.modules.keys()
assert "conv4" in dir(cml_tf) and "load" in dir(cml_tf.datasets)
"""


def test_the_client_and_its_program(server, tmp_path):
    write_classes(tmp_path / "pictures", ["ant", "bee"], images=1)
    done = run_python("-c", _CLIENT, server.addresses["http"], str(tmp_path))
    assert done.code == 0 and "ant/0.png" in done.out, done.err


def test_the_package_loads_nothing_before_it_is_used():
    done = run_python("-c", _LAZY)
    assert done.code == 0, done.err

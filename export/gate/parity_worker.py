"""Replays requests against an export, in a process that knows TensorFlow and nothing of this project.

    python -I parity_worker.py SAVED_MODEL_OR_LITERT_FILE EXPECTED.npz NAME=REQUESTS...

It is run by path: it imports nothing of `cml_tf` or `export`, and makes sure that nobody else does. Every request goes
through the model loaded as a TF2 SavedModel and through a plain TF1 Session on the tag `serve`, which is how a C++
server runs it; a LiteRT file is run by its interpreter. The last line of its output is a JSON object: how many answers
were compared, and the differences.
"""

import json
import sys

OURS = ("cml_tf", "export")


class Blocked:
    """Finds none of this project's packages, wherever they are installed."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        """Refuses our packages, leaves others to the next finder."""
        del path, target
        if name.partition(".")[0] in OURS:
            raise ImportError(f"{name} must not be needed to load an exported model")


def main(exported, expected_path, *request_files):
    """Compares all answers and prints the differences."""
    sys.meta_path.insert(0, Blocked)
    import numpy as np

    requests = {name: read(path) for name, path in (file.split("=", 1) for file in request_files)}
    differences, compared = [], 0
    with np.load(expected_path, allow_pickle=False) as archive:
        expected = {key: archive[key] for key in archive.files}
    loaders = {"a plain Session": session_runner, "a TF2 SavedModel": function_runner}
    if exported.endswith(".tflite"):
        loaders = {"the LiteRT interpreter": interpreter_runner}
    for loader, runner in loaders.items():
        run = runner(exported)
        for name, members in requests.items():
            for position, (signature, inputs) in enumerate(members):
                wanted, tolerances = (
                    {key[len(prefix) :]: value for key, value in expected.items() if key.startswith(prefix)}
                    for prefix in (f"values/{name}/{position}/", f"tolerances/{name}/{position}/")
                )
                where = f"{name} request {position} (signature {signature}) through {loader}"
                differences += compare(run, signature, inputs, wanted, tolerances, where)
                compared += 1
    loaded = [module for module in sys.modules if module.partition(".")[0] in OURS]
    if loaded:
        differences.append(f"loading the model imported {', '.join(loaded)}")
    print(json.dumps({"compared": compared, "differences": differences}))


def read(path):
    """(signature, inputs) of every PredictionLog in a TFRecord file."""
    import tensorflow as tf
    from tensorflow_serving.apis import prediction_log_pb2

    requests = []
    for record in tf.data.TFRecordDataset(path).as_numpy_iterator():
        request = prediction_log_pb2.PredictionLog.FromString(record).predict_log.request
        inputs = {name: tf.make_ndarray(tensor) for name, tensor in request.inputs.items()}
        requests.append((request.model_spec.signature_name, inputs))
    return requests


def session_runner(saved_model):
    """Runs signatures as TensorFlow Serving does: by the names of tensors in the graph."""
    import tensorflow as tf

    session = tf.compat.v1.Session(graph=tf.Graph())
    with session.graph.as_default():
        graph = tf.compat.v1.saved_model.loader.load(session, ["serve"], saved_model)

    def run(signature, inputs):
        definition = graph.signature_def[signature]
        feeds = {definition.inputs[name].name: value for name, value in inputs.items()}
        return session.run({name: tensor.name for name, tensor in definition.outputs.items()}, feeds)

    return run


def function_runner(saved_model):
    """Runs signatures as a Python user does."""
    import tensorflow as tf

    signatures = tf.saved_model.load(saved_model).signatures

    def run(signature, inputs):
        outputs = signatures[signature](**{name: tf.constant(value) for name, value in inputs.items()})
        return {name: value.numpy() for name, value in outputs.items()}

    return run


def interpreter_runner(file):
    """Runs signatures as a device does, which has one task at a time and no axis of tasks."""
    import tensorflow as tf

    interpreter = tf.lite.Interpreter(file)

    def run(signature, inputs):
        outputs = interpreter.get_signature_runner(signature)(**{name: value[0] for name, value in inputs.items()})
        return {name: value[None] for name, value in outputs.items()}

    return run


def compare(run, signature, inputs, wanted, tolerances, where):
    """The differences between an answer and what it should be, in words."""
    import numpy as np

    try:
        answer = run(signature, inputs)
    except Exception as error:  # Whatever it is, it is what a client would get.
        return [f"{where} raised {type(error).__name__}: {str(error)[:300]}"]
    if set(answer) != set(wanted):
        return [f"{where} answered {sorted(answer)}, expected {sorted(wanted)}"]
    found = []
    for name, value in wanted.items():
        got = answer[name]
        if got.dtype == object:
            # Bytes are held against the numbers that they should be.
            got = np.stack([np.frombuffer(content, value.dtype) for content in got])
        if got.dtype != value.dtype or got.shape != value.shape:
            found.append(f"{where}: {name} is {got.dtype} {got.shape}, expected {value.dtype} {value.shape}")
            continue
        # Whole numbers have no tolerance; NaN passes no comparison.
        off = np.abs(got.astype(np.float64) - value)
        if not np.all(off <= tolerances.get(name, 0)):
            at = np.unravel_index(np.argmax(np.where(np.isfinite(off), off, np.inf)), off.shape)
            found.append(f"{where}: {name}{list(map(int, at))} is {got[at]:g}, expected {value[at]:g}")
    return found


if __name__ == "__main__":
    main(*sys.argv[1:])

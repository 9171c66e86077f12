"""Converts a SavedModel into a LiteRT file, in a process whose native code may print or die as it likes.

    python -I conversion_worker.py SAVED_MODEL FILE.tflite SIGNATURE...

Only LiteRT's own operations are allowed. The last line of its output is a JSON list: the operations that it lacks, and
then no file was written.
"""

import json
import sys


def main(saved_model, file, *signatures):
    """Writes the file, or names what stands in its way."""
    import tensorflow as tf
    from tensorflow.lite.python.convert import ConverterError

    converter = tf.lite.TFLiteConverter.from_saved_model(saved_model, signature_keys=list(signatures))
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    try:
        content = converter.convert()
    except ConverterError as error:
        lacking = sorted({fault.operator.name.removeprefix("tf.") for fault in error.errors if fault.operator.name})
        if not lacking:
            raise
        print(json.dumps(lacking))
        return
    with open(file, "wb") as written:
        written.write(content)
    print(json.dumps([]))


if __name__ == "__main__":
    main(*sys.argv[1:])

"""Training for hours: `python -m benchmarks.training_soak [--seconds=7200 --config=NAME:WORDS --output=FILE]`.

Trains without an end in a process of its own, with validation, checkpoints and event files, samples its memory, and
interrupts it. Prints one JSON object, which the file has from the second minute on. Exits with 1 if the memory grows,
or the training does not end as it should.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from absl import flags

from benchmarks.serving.memory import Sample, figures, resident_bytes
from cml_tf.system.command_line import fail, run
from cml_tf.system.files import write_json

_SECONDS = flags.DEFINE_float("seconds", 7200.0, "Duration of the training.", 1.0)
_CONFIG = flags.DEFINE_string("config", "configs/sinusoid.py:cml", "What is trained, as for cml_tf.train.")
_OUTPUT = flags.DEFINE_string("output", None, "File for the JSON object.")
_SAMPLE_SECONDS, _SAMPLES_TO_WRITE, _SECONDS_TO_END = 2.0, 30, 120
_ENDLESS, _INTERRUPTED = 2**31, 130
# An epoch's entry in Keras' history is kept, and a leak of one small tensor a step is far more.
_TOLERATED_MIB_PER_MINUTE = 0.5


def main(arguments: list[str]) -> None:
    """Trains, and prints what came of the memory."""
    del arguments
    with tempfile.TemporaryDirectory() as directory:
        workdir = Path(directory, "run")
        samples = _trained(workdir, _SECONDS.value)
        steps = [json.loads(line)["step"] for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    result = _written(samples, steps=steps[-1])
    print(json.dumps(result))
    if result["memory_grows"]:
        sys.exit(1)


def _written(samples: list[Sample], **more: int) -> dict:
    result = {"config": _CONFIG.value, "seconds": round(samples[-1].seconds, 1), **more}
    result |= figures(samples, _TOLERATED_MIB_PER_MINUTE)
    if _OUTPUT.value:
        write_json(Path(_OUTPUT.value), result)
    return result


def _trained(workdir: Path, seconds: float) -> list[Sample]:
    command = [f"--config={_CONFIG.value}", f"--config.train.steps={_ENDLESS}", f"--workdir={workdir}", "--verbose=0"]
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    process = subprocess.Popen([sys.executable, "-m", "cml_tf.train", *command], env=environment)
    try:
        samples: list[Sample] = []
        start = time.monotonic()
        while not samples or samples[-1].seconds < seconds:
            time.sleep(_SAMPLE_SECONDS)
            if process.poll() is not None:
                fail(f"the training ended by itself, with {process.returncode}.")
            samples.append(Sample(time.monotonic() - start, resident_bytes(process.pid)))
            if not len(samples) % _SAMPLES_TO_WRITE:
                _written(samples)
        process.send_signal(signal.SIGINT)
        if process.wait(_SECONDS_TO_END) != _INTERRUPTED:
            fail(f"the training must end with {_INTERRUPTED} when it is interrupted, received {process.returncode}.")
        return samples
    finally:
        process.kill()
        process.wait()


if __name__ == "__main__":
    run(main)

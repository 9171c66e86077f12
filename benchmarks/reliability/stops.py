"""How long a training takes to end after SIGTERM: `python -m benchmarks.reliability.stops [--stops=10 --seed=0]`.

Glyphs, 5-way 1-shot, at full size. Each start resumes what the one before saved, and gets its signal at a random moment
of its first seconds: while it imports, builds, traces, trains or validates. Prints one JSON object.
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

import numpy as np
from absl import flags

from cml_tf.experiments.stored import CHECKPOINTS, LATEST
from cml_tf.system.command_line import run
from cml_tf.training.checkpoints import read_checkpoint

_STOPS = flags.DEFINE_integer("stops", 10, "How often.", 1)
_SEED = flags.DEFINE_integer("seed", 0, "Of the moments.", 0)
_SECONDS = flags.DEFINE_float("seconds", 90.0, "Latest moment of a signal after a start.", 1.0)


def main(arguments: list[str]) -> None:
    """Stops and measures."""
    del arguments
    random = np.random.default_rng(_SEED.value)
    saved, ended, codes, steps = [], [], [], []
    with tempfile.TemporaryDirectory() as folder:
        workdir = Path(folder) / "run"
        command = [sys.executable, "-m", "cml_tf.train", "--config=configs/glyphs.py:cml,5way,1shot", "--verbose=0"]
        quiet = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
        command += [f"--workdir={workdir}", "--config.train.validate_every=20"]
        for _ in range(_STOPS.value):
            process = subprocess.Popen(command, stderr=subprocess.DEVNULL, env=quiet)
            time.sleep(random.uniform(0.0, _SECONDS.value))
            began = time.time()
            process.send_signal(signal.SIGTERM)
            codes.append(process.wait())
            ended.append(round(time.time() - began, 2))
            latest = workdir / CHECKPOINTS / LATEST
            if latest.exists():
                # What was saved before the signal is no answer to it.
                saved.append(max(0.0, round(latest.stat().st_mtime - began, 2)))
                steps.append(read_checkpoint(latest)[1]["step"])
    print(json.dumps({"seconds_to_save": saved, "seconds_to_end": ended, "exit_codes": codes, "steps": steps}))


if __name__ == "__main__":
    run(main)

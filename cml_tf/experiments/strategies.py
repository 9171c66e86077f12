"""Which devices a program runs on: the flags `--strategy` and `--cpu_devices` (docs/REPLICAS.md)."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import tensorflow as tf
from absl import flags

from cml_tf.errors import UserError
from cml_tf.system.command_line import LOST
from cml_tf.system.files import parsed_json
from cml_tf.training.replicas import ONE, Replicas

ONE_DEVICE, MIRRORED, MULTI_WORKER = "one", "mirrored", "multi_worker"
TF_CONFIG = "TF_CONFIG"
_JOBS = ("chief", "worker")
_EXAMPLE = '{"cluster": {"worker": ["host0:12345", "host1:12345"]}, "task": {"type": "worker", "index": 0}}'
# What TensorFlow raises when another process has ended, depending on what it was doing.
_GONE = (
    *(tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.CancelledError, tf.errors.DeadlineExceededError),
    *(tf.errors.InternalError, tf.errors.FailedPreconditionError),
)

# A process of its own, since TensorFlow waits in C++ and lets no Python run meanwhile: it ends with its input, or
# tells and ends who waits. SIGUSR1 gives the exit code LOST.
_WATCH = """
import os, select, signal, sys
if not select.select([sys.stdin], [], [], float(sys.argv[1]))[0]:
    print(sys.argv[2], file=sys.stderr, flush=True)
    os.kill(int(sys.argv[3]), signal.SIGUSR1)
"""
_AGAIN = "run all of them again; a training goes on from its last checkpoint."

_STRATEGY = flags.DEFINE_enum(
    "strategy",
    ONE_DEVICE,
    [ONE_DEVICE, MIRRORED, MULTI_WORKER],
    "Devices to share the tasks of a meta-batch among: one, all of this machine (mirrored), or those of all processes "
    "that TF_CONFIG names (multi_worker).",
)
_CPU_DEVICES = flags.DEFINE_integer(
    "cpu_devices", 1, "Devices to divide the processor into, to try --strategy=mirrored without GPUs.", 1
)
_WORKER_WAIT = flags.DEFINE_integer(
    "worker_wait",
    600,
    "Seconds to wait for all processes of --strategy=multi_worker.",
    1,
)


@contextlib.contextmanager
def chosen_replicas() -> Iterator[Replicas]:
    """The replicas that the flags choose; to be entered before TensorFlow does anything else.

    If another process is lost, this one ends with one line and an exit code of its own.

    Raises:
      UserError: for flags that do not go together, or a cluster that is not described.
    """
    name, devices = _STRATEGY.value, _CPU_DEVICES.value
    if devices > 1 and name != MIRRORED:
        raise UserError(f"--cpu_devices must be 1 unless --strategy is mirrored, received {devices}: leave it out.")
    if _WORKER_WAIT.present and name != MULTI_WORKER:
        raise UserError(f"--worker_wait is for --strategy=multi_worker, received {name}: leave it out.")
    if name != MULTI_WORKER:
        yield Replicas(_mirrored(devices)) if name == MIRRORED else ONE
        return
    check_cluster(os.environ.get(TF_CONFIG, ""))
    if os.getpid() == 1:
        # Nothing could end its wait for the others: the kernel keeps the first process of a container from signals.
        raise UserError(
            "--strategy=multi_worker must not be process 1 of its container: set shareProcessNamespace: true in the "
            "pod, or use docker run --init."
        )
    try:
        with _at_most(_WORKER_WAIT.value):
            strategy = tf.distribute.MultiWorkerMirroredStrategy()
        # TensorFlow has made SIGTERM a note to itself.
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        yield Replicas(strategy)
    except _GONE as error:
        told = f"{type(error).__name__}: {error.message.partition(chr(10))[0][:200]}"
        print(f"error: another process has ended, or cannot be reached ({told}): {_AGAIN}", file=sys.stderr, flush=True)
        # The usual end waits for the others.
        os._exit(LOST)


@contextlib.contextmanager
def _at_most(seconds: int) -> Iterator[None]:
    message = f"error: the other processes of TF_CONFIG did not all come within {seconds} seconds: {_AGAIN}"
    command = [sys.executable, "-I", "-c", _WATCH, str(seconds), message, str(os.getpid())]
    # Its input ends after this, and it with that; or with this process, however that ends.
    with subprocess.Popen(command, stdin=subprocess.PIPE):
        yield


def _mirrored(cpu_devices: int) -> tf.distribute.Strategy:
    if cpu_devices > 1:
        parts = [tf.config.LogicalDeviceConfiguration()] * cpu_devices
        tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], parts)
    kind = "GPU" if tf.config.list_physical_devices("GPU") else "CPU"
    return tf.distribute.MirroredStrategy([device.name for device in tf.config.list_logical_devices(kind)])


def check_cluster(text: str) -> None:
    """Raises UserError unless TF_CONFIG says which processes there are, and which one this is."""
    try:
        described = parsed_json(text)
        cluster, task = described["cluster"], described["task"]
        hosts = cluster[task["type"]]
        fits = task["type"] in _JOBS and set(cluster) <= set(_JOBS) and 0 <= int(task["index"]) < len(hosts)
    except (ValueError, KeyError, TypeError):
        fits = False
    if not fits:
        raise UserError(
            f"{TF_CONFIG} must be JSON such as {_EXAMPLE} for --strategy=multi_worker, received {text or 'none'}: set "
            "it in the environment of every process, each with an index of its own."
        )

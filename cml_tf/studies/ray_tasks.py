"""Programs run as Ray tasks, on one machine or on all nodes of a cluster.

Each task starts the program in a process of its own, so that a run is the same whoever starts it. When its node or its
worker is lost, Ray starts the task again, and the program goes on from what it saved: so the directories that it writes
to must be seen by all nodes. Nothing but the return value reaches the driver.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Generator, Mapping, Sequence
from typing import Any

from cml_tf.errors import UserError
from cml_tf.system.processes import environment_of_child

ENGINE = "ray"
# A run that loses its node so often is given up.
RETRIES = 8


def run_on_ray(
    commands: Mapping[str, Sequence[str]], engine: str, cpus: float, gpus: float
) -> Generator[tuple[str, subprocess.CompletedProcess[str]]]:
    """Runs commands as Ray has resources, and yields each with its name as it ends.

    When this is closed early, those that run are told to stop once, and save.

    Args:
      commands: by name; the same Python, and the present directory, must be on every node.
      engine: `ray` for the cluster in RAY_ADDRESS, or one started on this machine; `ray://HOST:PORT` for another.
      cpus: a run.
      gpus: a run; may be a fraction, of which TensorFlow then takes memory as it needs it.

    Raises:
      UserError: if Ray is not installed, the cluster cannot be reached, or it can never have so much for a run.
    """
    try:
        import ray
    except ImportError as error:
        raise UserError(
            "the package ray is not installed: install it (pip install -r requirements-ray.txt), or use --engine=local."
        ) from error
    _connect(ray, engine)
    _check_resources(ray, cpus, gpus)
    task = ray.remote(_run).options(num_cpus=cpus, num_gpus=gpus, max_retries=RETRIES)
    shares = 0 < gpus < 1
    pending = {task.remote(list(command), os.getcwd(), shares): name for name, command in commands.items()}
    try:
        while pending:
            for done in ray.wait(list(pending))[0]:
                name = pending.pop(done)
                yield name, _ended(ray, done, commands[name])
    finally:
        for left in pending:
            ray.cancel(left)
        if pending:
            ray.wait(list(pending), num_returns=len(pending))
        ray.shutdown()


def _connect(ray: Any, engine: str) -> None:
    quiet = {"log_to_driver": False, "logging_level": "warning"}
    variables = {"env_vars": {"PYTHONPATH": os.pathsep.join([os.getcwd(), os.environ.get("PYTHONPATH", "")])}}
    try:
        if engine == ENGINE:
            ray.init(runtime_env=variables, **quiet)
        else:
            ray.init(engine, runtime_env=variables, **quiet)
    except (ConnectionError, OSError, RuntimeError, ValueError) as error:
        raise UserError(
            f"the Ray cluster of --engine={engine} cannot be reached ({str(error).splitlines()[0]}): start it, or use "
            "--engine=local."
        ) from error


def _check_resources(ray: Any, cpus: float, gpus: float) -> None:
    """A cluster that grows when it is asked may have more later: only nodes that are there are looked at."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    if not any(node.get("CPU", 0) >= cpus and node.get("GPU", 0) >= gpus for node in nodes):
        raise UserError(
            f"no node of the Ray cluster has {cpus:g} CPUs and {gpus:g} GPUs for a run: set --cpus and --gpus lower."
        )


def _ended(ray: Any, done: Any, command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    try:
        code, out, err = ray.get(done)
    except ray.exceptions.RayError as error:
        # An error of the task itself begins with where it was, others with what happened and then how Ray works.
        cause = getattr(error, "cause", None) or error
        return subprocess.CompletedProcess(command, 1, "", str(cause).splitlines()[0])
    return subprocess.CompletedProcess(command, code, out, err)


def _run(command: list[str], directory: str, shares_gpu: bool) -> tuple[int, str, str]:
    """What runs on a node."""
    environment = environment_of_child("SIGKILL")
    if shares_gpu:
        # Otherwise the first run takes the memory of the whole GPU.
        environment.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
    child = subprocess.Popen(
        command,
        cwd=directory,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        errors="replace",
        env=environment,
    )
    try:
        out, err = child.communicate()
    except BaseException:
        child.terminate()
        child.wait()
        raise
    return child.returncode, out, err

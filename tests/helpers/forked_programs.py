"""Reads a JSON list of [module, *arguments] from stdin, runs each in a forked process, prints what came of them."""

from __future__ import annotations

import json
import os
import runpy
import sys
import tempfile
import traceback

# Imported, not used: what the forked processes then have without waiting for it, TensorFlow above all.
import cml_tf.experiments.runs
import cml_tf.system.command_line  # noqa: F401


def main() -> None:
    """Runs all."""
    results = [_forked(call) for call in json.load(sys.stdin)]
    print(json.dumps(results))


def _forked(call: list[str]) -> dict[str, object]:
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        sys.stdout.flush()
        sys.stderr.flush()
        child = os.fork()
        if child == 0:
            os.dup2(out.fileno(), 1)
            os.dup2(err.fileno(), 2)
            os._exit(_run(call))
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        out.seek(0)
        err.seek(0)
        return {"code": code, "out": out.read(), "err": err.read()}


def _run(call: list[str]) -> int:
    sys.argv = list(call)
    code = 0
    try:
        runpy.run_module(call[0], run_name="__main__", alter_sys=True)
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    return code


if __name__ == "__main__":
    main()

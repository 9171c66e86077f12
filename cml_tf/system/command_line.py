"""How all programs start and end: absl flags, errors of the user in one line, exit codes.

Exit codes: 0 done, 1 a defect (with its traceback), 2 something the user can mend, 130 interrupted, 138 lost
another process. Output that cannot be shown or written stops no program (`cml_tf.system.standard_output`).
"""

from __future__ import annotations

import importlib
import itertools
import re
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

from absl import app, flags, logging
from ml_collections import ConfigDict

from cml_tf.errors import Interrupted, UserError
from cml_tf.system.file_faults import file_fault
from cml_tf.system.renamed import config_source
from cml_tf.system.standard_output import endure, output_fault

# From 128 on, schedulers of jobs start a program again.
STOPPED, LOST = 130, 138
# Read before absl reads them, which takes `--config FILE` for `--config=FILE`.
_READ_BEFORE = ("--config", "-config", "--plugins", "-plugins")
_STORE = re.compile("(gs|gcs|s3|s3a|az|adl|abfs|abfss|wasb|wasbs|hdfs|viewfs|oss|r2)://")

PLUGINS = flags.DEFINE_list(
    "plugins", [], "Comma-separated modules of yours that register members (CONTRIBUTING.md); imported first."
)


def run(main: Callable[[list[str]], None], operands: int = 0) -> NoReturn:
    """Runs a program; never returns.

    Args:
      main: receives the program's name and what was given that is no flag.
      operands: how many such arguments it takes at most.
    """

    def guarded(arguments: list[str]) -> None:
        if surplus := arguments[1 + operands :]:
            fail(f"unexpected argument {surplus[0]!r}. Write flags as --name=value.")
        try:
            main(arguments)
        except UserError as error:
            fail(str(error))
        except Interrupted as error:
            print(error, file=sys.stderr)
            sys.exit(STOPPED)
        except KeyboardInterrupt:
            print("interrupted.", file=sys.stderr)
            sys.exit(STOPPED)
        except Exception as error:
            if (fault := file_fault(error)) is None:
                raise
            fail(fault)

    logging.set_verbosity(logging.WARNING)
    endure()
    try:
        app.run(guarded, flags_parser=_parse)
    except SystemExit as end:
        if not end.code and (fault := output_fault()):
            fail(
                f"the program finished, but its output could not be written ({fault.strerror}): redirect it to "
                "another place."
            )
        raise


def fail(message: str) -> NoReturn:
    """Prints one line and exits with 2."""
    print("error: " + " ".join(message.split()), file=sys.stderr)
    sys.exit(2)


def checked_config(config: ConfigDict) -> ConfigDict:
    """The configuration of a `--config` flag; exits with 2 if its file cannot be read or returned something else."""
    try:
        keys = config.keys
    except OSError as error:
        # ml_collections keeps a missing file to itself until somebody looks into the configuration.
        fail(f"the configuration file cannot be read: {error}")
    if not isinstance(config, ConfigDict) or not callable(keys):
        fail(f"the configuration file must define get_config() -> ConfigDict, received {type(config).__name__}.")
    return config


def _joined(arguments: Sequence[str]) -> list[str]:
    """The arguments, with values that stand behind a blank in one word with their flags."""
    joined: list[str] = []
    for before, argument in itertools.pairwise(["", *arguments]):
        if before in _READ_BEFORE and joined[-1] == before:
            joined[-1] = f"{before}={argument}"
        else:
            joined.append(argument)
    return joined


def _renamed(argument: str) -> str:
    """An argument, with the present name of the configuration file if it names one of before."""
    flag, equals, value = argument.partition("=")
    return f"{flag}={config_source(value)}" if equals and flag in ("--config", "-config") else argument


def _check_on_disk(arguments: Sequence[str]) -> None:
    """Python would take `gs://bucket/run` for a folder called `gs:`."""
    for before, argument in itertools.pairwise(["", *arguments]):
        name, _, value = argument.partition("=")
        if not argument.startswith("-"):
            name, value = before, argument
        if _STORE.match(value):
            fail(
                f"{name} must be a path on a disk, received {value!r}: work on a disk and copy what has ended "
                "(docs/RELIABILITY.md says why)."
            )


def _import_plugins(arguments: Sequence[str]) -> None:
    """Before the other flags are read: a configuration file may choose what the modules register."""
    given = [argument.split("=", 1)[1] for argument in arguments if re.match("--?plugins=", argument)]
    for name in filter(None, ",".join(given).split(",")):
        try:
            importlib.import_module(name)
        except ImportError as error:
            fail(f"--plugins must name modules that Python can import from this directory, received {name!r}: {error}.")


def _parse(arguments: Sequence[str]) -> list[str]:
    arguments = _joined(arguments)
    _check_on_disk(arguments)
    try:
        _import_plugins(arguments)
        return flags.FLAGS([_renamed(argument) for argument in arguments])
    except SystemExit as end:
        # What asked for help got it: absl ends with 1.
        raise SystemExit(0 if end.code == 1 else end.code) from None
    except flags.Error as error:
        # An error inside a configuration file arrives as its whole traceback; the last line says what it
        # was, after the name of its class.
        lines = str(error).strip().splitlines()
        fail(re.sub(r"^cml_tf\.[\w.]+: ", "", lines[-1]) if len(lines) > 1 else lines[0])
    except (AttributeError, KeyError, TypeError, ValueError, ImportError, OSError, SyntaxError) as error:
        # ml_collections raises plain exceptions for unknown keys, wrong types and unreadable configuration files.
        fail(f"the configuration cannot be read: {_told(error)}")


def _told(error: Exception) -> str:
    """What an error says; that of an unknown key is an error inside an error, in Python's notation."""
    while error.args and isinstance(error.args[0], Exception):
        error = error.args[0]
    if not isinstance(error, KeyError):
        return str(error)
    key, *suggestions = str(error.args[0]).splitlines()
    return ". ".join([f"it has no key {key}" if key.startswith("'") else key, *suggestions])

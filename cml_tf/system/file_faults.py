"""What the system says when a file cannot be read or written, in one line that says what to do."""

from __future__ import annotations

import errno
import os
import re
import sys
from pathlib import Path

_REMEDIES = {
    errno.EACCES: "Change its permissions, or choose another path",
    errno.EPERM: "Change its permissions, or choose another path",
    errno.EROFS: "Choose another path",
    errno.ENOSPC: "Free some space, or choose a path on another disk",
    errno.EDQUOT: "Free some space, or choose a path on another disk",
    errno.EFBIG: "Raise the limit on file sizes (ulimit -f), or choose another path",
    errno.EIO: "Check the disk or the network, or choose another path",
    errno.ESTALE: "Mount the network file system again",
    errno.ENAMETOOLONG: "Choose a shorter path",
    errno.ENOTDIR: "A file is where a folder was expected: choose another path, or move the file",
    errno.EISDIR: "A folder is where a file was expected: choose another path, or move the folder",
    errno.EEXIST: "Choose another path, or move what is there",
    errno.ENOTEMPTY: "Choose another path, or move what is there",
    errno.ENOENT: "Check the path",
    errno.ELOOP: "Correct the symbolic links",
    errno.EMFILE: "Raise the limit (ulimit -n)",
    errno.ENFILE: "Close other programs",
    errno.ETXTBSY: "Wait until the other program has ended",
    errno.EBUSY: "Wait until the other program has ended",
}
# Of a full or broken disk or a used-up limit, whatever file it was; they come without its name from a write.
DISK_FAULTS = (
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EFBIG,
    errno.EIO,
    errno.EROFS,
    errno.ESTALE,
    errno.EMFILE,
    errno.ENFILE,
)
_WRITING = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EEXIST, errno.ENOTEMPTY, errno.ETXTBSY)
_OPERATIONS = re.compile(r"\{\{.*?\}\}|\[Op:\w+\]|\s*\n.*", re.DOTALL)
# What is missing from here is a defect of the installation, not of what a user named.
_INSTALLED = (Path(__file__).resolve().parents[2] / "cml_tf", Path(sys.prefix).resolve())


def file_fault(error: BaseException) -> str | None:
    """The line for a fault that a user can mend, None for any other error.

    Args:
      error: an OSError, or what TensorFlow makes of one.
    """
    # TensorFlow has an error of its own only where it is loaded.
    tensorflow = sys.modules.get("tensorflow")
    if tensorflow is not None and isinstance(error, tensorflow.errors.OpError):
        return _of_tensorflow(str(error.message))
    if not isinstance(error, OSError):
        return None
    if error.errno not in _REMEDIES:
        return None
    path = error.filename2 or error.filename
    if isinstance(path, int) or path is None:
        if "No usable temporary directory" in str(error):
            return "no temporary file can be written. Set TMPDIR to a writable folder with free space."
        return _line("a file", "written", error.errno) if error.errno in DISK_FAULTS else None
    name = os.fsdecode(path)
    if error.errno == errno.ENOENT and _is_installed(name):
        return None
    return _line(name, _tried(name, error.errno), error.errno)


def _line(name: str, tried: str, number: int) -> str:
    return f"{name} cannot be {tried}: {os.strerror(number).lower()}. {_REMEDIES[number]}."


def _tried(name: str, number: int) -> str:
    if number in _WRITING:
        return "written"
    if number in (errno.EACCES, errno.EPERM):
        if not os.path.lexists(name):
            # Either it is to be made, or a folder above keeps it from being seen.
            parent = Path(name).parent
            return "created" if os.access(parent, os.X_OK) or not parent.exists() else "reached"
        return "written" if os.access(name, os.R_OK) else "read"
    return "used"


def _is_installed(name: str) -> bool:
    return any(Path(name).resolve().is_relative_to(folder) for folder in _INSTALLED)


def _of_tensorflow(message: str) -> str | None:
    """TensorFlow says `PATH; reason`, between the names of a function and of an operation."""
    said = _OPERATIONS.sub("", message).strip()
    subject, separator, reason = said.rpartition("; ")
    for number in _REMEDIES:
        if separator and reason.lower() == os.strerror(number).lower():
            return _line(subject, _tried(subject, number), number)
    return None

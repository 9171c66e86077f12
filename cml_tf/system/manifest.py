"""A manifest: the SHA-256 of every file in a folder, which tells damage from what was written.

It protects against disks, copies and accidents, not against somebody who changes file and manifest together.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from cml_tf.errors import UserError
from cml_tf.system.files import parsed_json, write_text

MANIFEST = "manifest.json"
# Raise when what a manifest holds changes its meaning.
FORMAT = 1


class DamagedFile(UserError):
    """A file is not what was written."""


def digest(content: bytes) -> str:
    """SHA-256, hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def digests_of(folder: Path, files: Iterable[Path]) -> dict[str, list[str]]:
    """SHA-256 of files by their names within a folder."""
    return {path.relative_to(folder).as_posix(): [_digest_of(path)] for path in sorted(files)}


def write_manifest(path: Path, digests: Mapping[str, list[str]]) -> None:
    """Writes a manifest, atomically.

    Args:
      path: of the manifest.
      digests: of each file, by its name; more than one while it is being replaced.
    """
    write_text(path, _text(digests))


def check_manifest(folder: Path, manifest: Path, may_lack: Collection[str] = ()) -> bool:
    """Compares the files of a folder with its manifest; files that are not in it are not looked at.

    Args:
      folder: that the names belong to.
      manifest: the file.
      may_lack: names of files that may be gone.

    Returns:
      Whether there is a manifest.

    Raises:
      DamagedFile: for the first file that is not what was written, the manifest itself included.
    """
    if not manifest.exists():
        return False
    for name, known in read_manifest(manifest).items():
        path = folder / name
        if not path.is_file():
            if name in may_lack:
                continue
            raise DamagedFile(f"{path} is missing, but {manifest} lists it: restore it from a copy.")
        if _digest_of(path) not in known:
            raise DamagedFile(
                f"{path} is damaged, or was changed: its SHA-256 is not the one in {manifest}. Restore it from a copy."
            )
    return True


def read_manifest(path: Path) -> dict[str, list[str]]:
    """What a manifest lists.

    Raises:
      DamagedFile: if it is not what was written, or a later version wrote it.
    """
    try:
        text = path.read_text(encoding="utf-8")
        value = parsed_json(text)
        later = value["format"] > FORMAT
        digests = {str(name): [str(one) for one in known] for name, known in value["files"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DamagedFile(f"{path} cannot be read ({error}): restore it from a copy, or remove it.") from error
    if later:
        raise DamagedFile(f"{path} has format {value['format']}, which a later version wrote: use that version.")
    # Not one byte of it may differ.
    if text != _text(digests):
        raise DamagedFile(f"{path} is damaged: restore it from a copy, or remove it.")
    return digests


def _text(digests: Mapping[str, list[str]]) -> str:
    return json.dumps({"format": FORMAT, "files": digests}, indent=2, sort_keys=True) + "\n"


def _digest_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

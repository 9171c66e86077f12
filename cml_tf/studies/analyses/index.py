"""What lies in a directory of `cml_tf.analyse`: its index, continued by the next start and read for a report's page.

`index.json` has the runs, their episodes and checkpoint, and `analyses`. Each of these has `title`, `caption` and
`files`, one of them a PNG beside it; those that none of the runs had have no files.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cml_tf.experiments.stored import RunError
from cml_tf.studies.page import Picture
from cml_tf.system.files import parsed_json, write_bytes

INDEX = "index.json"


def earlier_entries(directory: Path, made: Mapping[str, Any]) -> dict[str, Any]:
    """By name the analyses that earlier starts made of the same; none if there are none.

    Args:
      directory: where `cml_tf.analyse` writes.
      made: what they are of: runs, episodes and checkpoint. Analyses of anything else are not in the index any more.

    Raises:
      RunError: if there is a file of that name which is no index.
    """
    index = directory / INDEX
    if not index.exists():
        return {}
    try:
        found = parsed_json(index.read_text(encoding="utf-8"))
        entries = {entry["name"]: entry for entry in found.pop("analyses")}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise RunError(
            f"{index} must be the index of an earlier start, found {type(error).__name__}: {error}. Choose another "
            "--output."
        ) from error
    return entries if found == made else {}


def copy_analyses(directory: Path, output: Path) -> list[Picture]:
    """Copies the pictures beside the page.

    Args:
      directory: that `cml_tf.analyse` wrote.
      output: folder of the page.

    Raises:
      RunError: if the index or one of its pictures is missing or not what it should be.
    """
    try:
        index = parsed_json((directory / INDEX).read_text(encoding="utf-8"))
        # Pictures refuse names that lead out of the directory.
        made = [entry for entry in index["analyses"] if entry["files"]]
        pictures = [Picture(entry["files"]["png"], entry["title"], entry["caption"]) for entry in made]
        contents = [(directory / picture.file).read_bytes() for picture in pictures]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(
            f"{directory / INDEX} must list analyses with title, caption and files next to it, found "
            f"{type(error).__name__}: {error}. Run python -m cml_tf.analyse --output={directory} again."
        ) from error
    for picture, content in zip(pictures, contents, strict=True):
        write_bytes(output / picture.file, content)
    return pictures

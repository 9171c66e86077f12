"""Takes the pictures of `cml_tf.analyse` into a page.

Its directory has `index.json`, whose `analyses` have `title`, `caption` and `files`, one of them a PNG beside it; those
that none of the runs had have no files.
"""

from __future__ import annotations

import json
from pathlib import Path

from cml_tf.files import write_bytes
from cml_tf.reporting.page import Picture

INDEX = "index.json"


def copy_analyses(directory: Path, output: Path) -> list[Picture]:
    """Copies the pictures beside the page.

    Args:
      directory: that `cml_tf.analyse` wrote.
      output: folder of the page.

    Raises:
      ValueError: if the index or one of its pictures is missing or not what it should be.
    """
    try:
        index = json.loads((directory / INDEX).read_text(encoding="utf-8"))
        # Pictures refuse names that lead out of the directory.
        made = [entry for entry in index["analyses"] if entry["files"]]
        pictures = [Picture(entry["files"]["png"], entry["title"], entry["caption"]) for entry in made]
        contents = [(directory / picture.file).read_bytes() for picture in pictures]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{directory / INDEX} must list analyses with title, caption and files beside it, received "
            f"{error!r}. Run python -m cml_tf.analyse --output={directory} again."
        ) from error
    for picture, content in zip(pictures, contents, strict=True):
        write_bytes(output / picture.file, content)
    return pictures

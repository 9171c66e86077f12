"""Writes a folder that any web server can give out: the playground with a LiteRT file in the place of a server.

    python -m export.device.page --model=FILE.tflite --directory=DIR

The interpreter is LiteRT.js, which `npm ci` installs from a lock file (`make device-runtime`); the page gets nothing
from elsewhere. Prints the folder as the last line.
"""

from __future__ import annotations

import html
import shutil
import tempfile
from pathlib import Path
from typing import Any

from absl import flags

from cml_tf.system.command_line import run
from cml_tf.system.files import parsed_json
from cml_tf.system.manifest import digest
from export.errors import ExportError
from export.playground.site import FILES, STATIC

RUNTIME = Path(__file__).parent / "browser" / "node_modules" / "@litertjs"
_POLICY = (
    "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'"
)
# Browsers with and without relaxed SIMD; each loads one of the two.
_WASM = ("litert_wasm_internal", "litert_wasm_compat_internal")
_BARE = '"@litertjs/wasm-utils"'


def write_page(file: Path, directory: Path, runtime: Path = RUNTIME) -> Path:
    """Writes the folder of a page.

    Args:
      file: that `export.device` wrote, its JSON file beside it.
      directory: of the page, which must not be there yet.
      runtime: where the packages `core` and `wasm-utils` of LiteRT.js are.

    Returns:
      `directory`.

    Raises:
      ExportError: if one of the three is not as it should be, or the JSON file is that of another export; no folder is
        written then.
    """
    if directory.exists():
        raise ExportError(f"directory must not exist yet, received {directory}: remove it, or choose another.")
    if not (runtime / "core" / "dist" / "index.js").is_file():
        raise ExportError(f"{runtime} must contain LiteRT.js, found none: run make device-runtime.")
    facts = file.with_suffix(".json")
    if not (file.is_file() and facts.is_file()):
        raise ExportError(f"{file.parent} must contain {file.name} and {facts.name}: run python -m export.device.")
    contents = _of_one_export(file, facts)
    directory.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{directory.name}.", dir=directory.parent) as scratch:
        draft = Path(scratch) / "page"
        draft.mkdir()
        for name in FILES:
            shutil.copyfile(STATIC / name, draft / name)
        index = (draft / "index.html").read_text(encoding="utf-8")
        (draft / "index.html").write_text(_with_model(index, file.name), encoding="utf-8")
        for name, content in contents.items():
            (draft / name).write_bytes(content)
        _copy_runtime(runtime, draft / "runtime")
        draft.rename(directory)
    return directory


def _of_one_export(file: Path, facts: Path) -> dict[str, bytes]:
    """The contents of both files by their names, read once: an export at the same time could replace either."""
    told, model = facts.read_bytes(), file.read_bytes()
    document = _document(facts, told)
    if "adapt" not in document["signatures"]:
        raise ExportError("the page must have a model with a signature adapt: choose a rule that packs its tasks.")
    received = digest(model)
    if document.get("sha256") != received:
        raise ExportError(
            f"{file} must be the file that {facts.name} describes (SHA-256 {document.get('sha256')}), received another "
            f"({received}): use both files of one export, or run python -m export.device again."
        )
    return {file.name: model, facts.name: told}


def _document(facts: Path, content: bytes) -> dict[str, Any]:
    """What the JSON file says, with the signatures of a model."""
    try:
        found = parsed_json(content)
    except ValueError as error:
        raise ExportError(f"{facts} cannot be read ({error}): run python -m export.device again.") from error
    if not (isinstance(found, dict) and isinstance(found.get("signatures"), dict)):
        raise ExportError(f"{facts} must contain signatures of a model, found none: run python -m export.device again.")
    return found


def _with_model(index: str, name: str) -> str:
    """The page, told which file it has, and that it may load nothing but what lies beside it."""
    told = {"http-equiv": ("Content-Security-Policy", _POLICY), "name": ("litert-model", name)}
    lines = [f'<meta {key}="{kind}" content="{html.escape(text)}" />' for key, (kind, text) in told.items()]
    return index.replace("<title>", "\n    ".join([*lines, "<title>"]), 1)


def _copy_runtime(runtime: Path, directory: Path) -> None:
    (directory / "wasm").mkdir(parents=True)
    core = (runtime / "core" / "dist" / "index.js").read_text(encoding="utf-8")
    if _BARE not in core:
        raise ExportError(f"{runtime} must contain the LiteRT.js of the lock file, found another: run npm ci there.")
    # Browsers know no names of packages.
    (directory / "core.js").write_text(core.replace(_BARE, '"./wasm_utils.js"'), encoding="utf-8")
    shutil.copyfile(runtime / "wasm-utils" / "dist" / "index.js", directory / "wasm_utils.js")
    for name in _WASM:
        for ending in (".js", ".wasm"):
            shutil.copyfile(runtime / "core" / "wasm" / f"{name}{ending}", directory / "wasm" / f"{name}{ending}")


_MODEL = flags.DEFINE_string("model", None, "File that export.device wrote.", required=True)
_DIRECTORY = flags.DEFINE_string("directory", None, "Folder to write, which must not be there yet.", required=True)


def main(arguments: list[str]) -> None:
    """Writes one page."""
    del arguments
    print(write_page(Path(_MODEL.value), Path(_DIRECTORY.value)))


if __name__ == "__main__":
    run(main)

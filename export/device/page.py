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
      ExportError: if one of the three is not as it should be; no folder is written then.
    """
    if directory.exists():
        raise ExportError(f"directory must not exist yet, received {directory}: remove it, or choose another.")
    if not (runtime / "core" / "dist" / "index.js").is_file():
        raise ExportError(f"{runtime} must contain LiteRT.js, found none: run make device-runtime.")
    facts = file.with_suffix(".json")
    if not (file.is_file() and facts.is_file()):
        raise ExportError(f"{file.parent} must contain {file.name} and {facts.name}: run python -m export.device.")
    if "adapt" not in _signatures(facts):
        raise ExportError("the page must have a model with a signature adapt: choose a rule that packs its tasks.")
    directory.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{directory.name}.", dir=directory.parent) as scratch:
        draft = Path(scratch) / "page"
        draft.mkdir()
        for name in FILES:
            shutil.copyfile(STATIC / name, draft / name)
        index = (draft / "index.html").read_text(encoding="utf-8")
        (draft / "index.html").write_text(_with_model(index, file.name), encoding="utf-8")
        for source in (file, facts):
            shutil.copyfile(source, draft / source.name)
        _copy_runtime(runtime, draft / "runtime")
        draft.rename(directory)
    return directory


def _signatures(facts: Path) -> dict[str, Any]:
    try:
        found = parsed_json(facts.read_bytes())
    except ValueError as error:
        raise ExportError(f"{facts} cannot be read ({error}): run python -m export.device again.") from error
    signatures = found.get("signatures") if isinstance(found, dict) else None
    if not isinstance(signatures, dict):
        raise ExportError(f"{facts} must contain signatures of a model, found none: run python -m export.device again.")
    return signatures


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

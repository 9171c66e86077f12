"""The documents' examples: found as fenced blocks, and run as they stand."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from cml_tf.datasets.storage.cache import ENVIRONMENT_VARIABLE

ROOT = Path(__file__).resolve().parents[2]
# Blocks that ask a server are run by tests/export/test_documented_requests.py.
SERVER = "127.0.0.1:850"
BLOCK = re.compile(
    r"(?:^<!-- not run: (?P<reason>[^\n]+) -->\n)?^```(?P<language>\w*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL
)


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, the text within, the number of its first line, and whether it is to be run."""

    language: str
    text: str
    line: int
    runs: bool


def blocks(document: str, language: str) -> list[Block]:
    found = [
        Block(match["language"], match["text"], document[: match.start("text")].count("\n") + 1, not match["reason"])
        for match in BLOCK.finditer(document)
    ]
    return [block for block in found if block.language == language]


def environment(directory: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return {
        **kept,
        "PYTHONPATH": str(ROOT),
        ENVIRONMENT_VARIABLE: str(directory / "cache"),
        "TF_CPP_MIN_LOG_LEVEL": "3",
    }


def run_shell(command: str, directory: Path) -> subprocess.CompletedProcess:
    words = [word.replace("=runs/", f"={directory}/runs/") for word in shlex.split(command)]
    assert words[0] == ".venv/bin/python", f"expected the project's Python, found {command!r}"
    return subprocess.run(
        [sys.executable, *words[1:]], cwd=ROOT, env=environment(directory), capture_output=True, text=True
    )


def run_python(document: str, directory: Path) -> subprocess.CompletedProcess:
    """Runs the Python blocks that are to be run; lines keep their numbers in the document, for tracebacks."""
    lines = [""] * (document.count("\n") + 1)
    for block in blocks(document, "python"):
        if SERVER in block.text or not block.runs:
            continue
        text = block.text.splitlines()
        lines[block.line - 1 : block.line - 1 + len(text)] = text
    script = directory / "examples.py"
    script.write_text("\n".join(lines), encoding="utf-8")
    command = [sys.executable, str(script)]
    return subprocess.run(command, cwd=directory, env=environment(directory), capture_output=True, text=True)

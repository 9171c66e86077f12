"""The documents' examples: found as fenced blocks, and run as they stand."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.helpers.programs import ROOT, Finished, environment, run_programs

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


def run_shell(text: str, directory: Path) -> list[tuple[str, Finished]]:
    """Runs the commands of shell blocks, one a line, with `runs/` in a directory; all must end well."""
    commands = re.sub(r" ?\\\n\s*", " ", text).strip().splitlines()
    calls = []
    for command in commands:
        words = [word.replace("=runs/", f"={directory}/runs/") for word in shlex.split(command)]
        assert words[:2] == [".venv/bin/python", "-m"], f"expected the project's Python, found {command!r}"
        calls.append(words[2:])
    done = list(zip(commands, run_programs(calls), strict=True))
    for command, finished in done:
        assert finished.code == 0, f"{command}\n{finished.err}"
    return done


def run_python(document: str, directory: Path) -> str:
    """Runs the Python blocks that are to be run, and gives what they print.

    Lines keep their numbers in the document, for tracebacks.
    """
    lines = [""] * (document.count("\n") + 1)
    for block in blocks(document, "python"):
        if SERVER in block.text or not block.runs:
            continue
        text = block.text.splitlines()
        lines[block.line - 1 : block.line - 1 + len(text)] = text
    script = directory / "examples.py"
    script.write_text("\n".join(lines), encoding="utf-8")
    kept = {name: value for name, value in environment().items() if not name.startswith("PYTHON")}
    given = {**kept, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, str(script)], cwd=directory, env=given, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout

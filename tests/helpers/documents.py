"""The documents' examples: found as fenced blocks, and run as they stand."""

from __future__ import annotations

import itertools
import re
import shlex
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from tests.helpers.programs import ROOT, Finished, environment, run_programs

# README.md and the pages, by their paths from the root.
FOLDERS = ("docs", "docs/systems")
PAGES = ("README.md", *sorted(f"{folder}/{path.name}" for folder in FOLDERS for path in (ROOT / folder).glob("*.md")))
# Blocks that ask a server are run by tests/export/test_documented_requests.py.
SERVER = re.compile(r"127\.0\.0\.1:850[01]")
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

    @property
    def asks_server(self) -> bool:
        """Whether it needs a server that answers."""
        return SERVER.search(self.text) is not None

    @property
    def commands(self) -> list[str]:
        """The commands of a shell block, each in one line."""
        lines = re.sub(r" *\\\n\s*", " ", self.text).splitlines()
        return [line.strip() for line in lines if line.strip() and not line.startswith("#")]


@dataclass
class Ran:
    """What running a document gave: its commands with what came of each, and what its Python examples printed."""

    commands: list[tuple[str, Finished]] = field(default_factory=list)
    printed: str = ""


def read(page: str) -> str:
    """The text of a page, by its path from the root."""
    return (ROOT / page).read_text(encoding="utf-8")


def blocks(document: str, *languages: str) -> list[Block]:
    """The blocks in some languages, in their order."""
    found = [
        Block(match["language"], match["text"], document[: match.start("text")].count("\n") + 1, not match["reason"])
        for match in BLOCK.finditer(document)
    ]
    return [block for block in found if block.language in languages]


def to_run(document: str) -> list[Block]:
    """The Python and shell blocks that are to be run here."""
    return [block for block in blocks(document, "python", "sh") if block.runs and not block.asks_server]


def run_document(document: str, directory: Path) -> Ran:
    """Runs what is to be run, in its order, in a directory that stands for the root of the checkout.

    Python blocks between two commands run in one fresh process. `make` is left out: continuous integration runs it.
    """
    if not (directory / "configs").exists():
        (directory / "configs").symlink_to(ROOT / "configs")
    ran = Ran()
    for language, group in itertools.groupby(to_run(document), key=lambda block: block.language):
        if language == "python":
            ran.printed += run_python(group, directory)
        else:
            lines = [line for block in group for line in block.commands if not line.startswith("make ")]
            ran.commands += _run_commands(lines, directory)
    return ran


def _run_commands(lines: list[str], directory: Path) -> list[tuple[str, Finished]]:
    calls = [shlex.split(line) for line in lines]
    for line, words in zip(lines, calls, strict=True):
        assert words[:2] == [".venv/bin/python", "-m"], f"expected the project's Python, found {line!r}"
    done = list(zip(lines, run_programs([words[2:] for words in calls], directory), strict=True))
    for line, finished in done:
        assert finished.code == 0, f"{line}\n{finished.err}"
    return done


def run_python(examples: Iterable[Block], directory: Path) -> str:
    """Runs Python blocks in one process, and gives what they print.

    Lines keep their numbers in the document, for tracebacks.
    """
    lines: list[str] = []
    for block in examples:
        lines += [""] * (block.line - 1 - len(lines)) + block.text.splitlines()
    script = directory / "examples.py"
    script.write_text("\n".join(lines), encoding="utf-8")
    kept = {name: value for name, value in environment().items() if not name.startswith("PYTHON")}
    given = {**kept, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, str(script)], cwd=directory, env=given, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def table(document: str, first: str) -> list[list[str]]:
    """The rows of the table whose first heading is `first`, as cells without backquotes."""
    lines = itertools.takewhile(
        lambda line: line.startswith("|"), document[document.index(f"| {first} |") :].splitlines()
    )
    return [[cell.strip().replace("`", "") for cell in line.strip("|").split(" | ")] for line in [*lines][2:]]

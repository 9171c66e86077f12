"""The tool that takes the documentation's pictures."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from tests.export.server.running import ROOT

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        shutil.which("chromium") is None, reason="no chromium on PATH (Debian: apt-get install chromium)"
    ),
]


def _run(model: str, port: int, output: Path) -> subprocess.CompletedProcess:
    flags = [f"--rest=http://127.0.0.1:{port}", f"--model={model}", f"--output={output}"]
    command = [sys.executable, "-m", "tools.playground_pictures", *flags]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


def test_a_picture_of_the_page(playground, tmp_path):
    result = _run("images", playground.rest_port, tmp_path / "new")
    assert result.returncode == 0, result.stderr
    (path,) = (tmp_path / "new").iterdir()
    assert path.name == "playground_classifier.png"
    with Image.open(path) as picture:
        assert picture.width == 1120 and picture.height > 800
        # A page that shows nothing has one colour.
        assert len(picture.convert("RGB").getcolors(2**24)) > 50


def test_a_page_that_does_not_answer_is_one_line(tmp_path):
    result = _run("images", 9, tmp_path)
    assert result.returncode == 2 and not list(tmp_path.iterdir())
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("error:")]
    assert "did not answer as expected" in line

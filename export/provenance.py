"""Where an export comes from: commit and library versions."""

from __future__ import annotations

import importlib.metadata
import platform
import subprocess
from pathlib import Path

_LIBRARIES = ("cml_tf", "tensorflow", "keras", "numpy", "tensorflow-serving-api")
_PROJECT = Path(__file__).resolve().parent.parent


def git_commit() -> str | None:
    """The commit of this checkout, with `+changes` behind it if files differ from it; None outside a checkout."""
    if not (_PROJECT / ".git").exists():
        # Installed: a repository further up would be somebody else's.
        return None
    commit = _git("rev-parse", "HEAD")
    if commit is None:
        return None
    return f"{commit}+changes" if _git("status", "--porcelain", "--untracked-files=no") else commit


def library_versions() -> dict[str, str]:
    """Versions by name; `not installed` for this project when it runs from a checkout."""
    versions = {"python": platform.python_version()}
    for name in _LIBRARIES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = "not installed"
    return versions


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(_PROJECT), *arguments], capture_output=True, text=True, check=True, timeout=60
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()

"""Configurations and sweeps of `configs/`, where cml_tf is installed and the repository is not at hand."""

from __future__ import annotations

from pathlib import Path

# The wheel carries `configs/` here (pyproject.toml); in the repository it is beside the package.
_SHIPPED = Path(__file__).resolve().parents[1] / "configs"


def shipped_file(path: str) -> str:
    """A file of `configs/`: that of the working directory if there is one, else that of the installed package.

    Args:
      path: as a user gives it, `configs/glyphs.py`; any other path is itself.
    """
    given = Path(path)
    if given.parts[:1] != ("configs",) or ".." in given.parts or given.exists():
        return path
    packaged = _SHIPPED.joinpath(*given.parts[1:])
    return str(packaged) if packaged.is_file() else path

"""Matplotlib where another program's choice of a drawing backend does not exist: figures are files here.

Jupyter hands `MPLBACKEND=module://matplotlib_inline.backend_inline` on to every program that a notebook starts. Where
that module is not installed, importing matplotlib raises. This project draws without a backend, so it does not matter.
"""

from __future__ import annotations

import importlib
import os


def import_regardless_of_backend() -> None:
    """Imports matplotlib; a backend in `MPLBACKEND` that is not there is passed over, and stays in the variable."""
    try:
        importlib.import_module("matplotlib")
    except ValueError:
        backend = os.environ.pop("MPLBACKEND", None)
        if backend is None:
            raise
        try:
            importlib.import_module("matplotlib")
        finally:
            os.environ["MPLBACKEND"] = backend

"""What a measurement ends with: a table for people, and a JSON object for programs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from cml_tf.system.files import write_json


def tell(drawn: Table, result: dict[str, Any], output: str | None) -> None:
    """Prints a table, and the result as one JSON object on the last line.

    Args:
      drawn: the result, to be read.
      result: what was measured.
      output: file for the JSON object too; None for none.
    """
    Console().print(drawn)
    if output:
        write_json(Path(output), result)
    print(json.dumps(result))

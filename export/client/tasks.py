"""Lists adapted tasks: `python -m export.client.tasks --folder=DIR [--address=grpc://HOST:PORT]`.

With `--address` it also asks that server whether it can still answer from each of them. The last line is JSON.
"""

from __future__ import annotations

import json
from dataclasses import asdict

from absl import flags
from rich.console import Console
from rich.table import Table
from rich.text import Text

from cml_tf.system.command_line import run
from export.client.connection_flags import client
from export.client.printed import printable
from export.client.store import Entry, TaskStore

_FOLDER = flags.DEFINE_string("folder", None, "Folder with files that export.client.adapt wrote.", required=True)


def main(arguments: list[str]) -> None:
    """Lists, and asks if a server is named."""
    del arguments
    store = TaskStore(_FOLDER.value)
    entries = store.entries()
    states = _states(store, entries) if flags.FLAGS["address"].present else {}
    table = Table("task", "model", "version", "classes", "bytes", "written", *(["state"] if states else []))
    for entry in entries:
        classes = "-" if entry.class_names is None else ", ".join(entry.class_names)
        about = (str(entry.version), classes, f"{entry.bytes:,}", f"{entry.changed:%Y-%m-%d %H:%M}")
        cells = (entry.name, entry.model, *about, *([states[entry.name]] if states else []))
        table.add_row(*(Text(printable(cell)) for cell in cells))
    Console().print(table)
    rows = [
        {**asdict(entry), "changed": entry.changed.isoformat(timespec="seconds"), "state": states.get(entry.name)}
        for entry in entries
    ]
    print(json.dumps(rows))


def _states(store: TaskStore, entries: list[Entry]) -> dict[str, str]:
    found: dict[str, str] = {}
    for model in sorted({entry.model for entry in entries}):
        with client(model) as server:
            found |= {entry.name: store.check(entry.name, server) for entry in entries if entry.model == model}
    return found


if __name__ == "__main__":
    run(main)

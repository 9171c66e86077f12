"""Lists adapted tasks: `python -m export.client.tasks --folder=DIR [--address=grpc://HOST:PORT]`.

With `--address` it also asks that server whether it can still answer from each of them; with `--model` all this of the
tasks of that model alone. The last line is JSON.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict

from absl import flags

from cml_tf.system.command_line import run
from export.client.connection_flags import client
from export.client.printed import drawn
from export.client.store import Entry, TaskStore

_FOLDER = flags.DEFINE_string("folder", None, "Folder with files that export.client.adapt wrote.", required=True)


def main(arguments: list[str]) -> None:
    """Lists, and asks if a server is named."""
    del arguments
    store = TaskStore(_FOLDER.value)
    chosen = flags.FLAGS["model"].value
    entries = [entry for entry in store.entries() if chosen in (None, entry.model)]
    states = _states(store, entries) if flags.FLAGS["address"].present else {}
    sys.stdout.write(_table(entries, states))
    rows = [
        {**asdict(entry), "changed": entry.changed.isoformat(timespec="seconds"), "state": states.get(entry.name)}
        for entry in entries
    ]
    print(json.dumps(rows))


def _table(entries: list[Entry], states: dict[str, str]) -> str:
    columns = ("task", "model", "version", "classes", "bytes", "written", *(["state"] if states else []))
    rows = []
    for entry in entries:
        classes = "-" if entry.class_names is None else ", ".join(entry.class_names)
        about = (str(entry.version), classes, f"{entry.bytes:,}", f"{entry.changed:%Y-%m-%d %H:%M}")
        rows.append((entry.name, entry.model, *about, *([states[entry.name]] if states else [])))
    return drawn(columns, rows)


def _states(store: TaskStore, entries: list[Entry]) -> dict[str, str]:
    found: dict[str, str] = {}
    for model in sorted({entry.model for entry in entries}):
        with client(model) as server:
            found |= {entry.name: store.check(entry.name, server) for entry in entries if entry.model == model}
    return found


if __name__ == "__main__":
    run(main)

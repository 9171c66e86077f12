"""Adapts once: `python -m export.client.adapt --model=NAME --support=DIR|FILE.npz --output=TASK.npz [--address ...]`.

The file contains what the server learned from the support examples. Use it any number of times with
`python -m export.client.predict --adapted=TASK.npz`. For models on nodes: `--graph=FILE.npz --support=LABELS.csv`.
"""

from __future__ import annotations

from pathlib import Path

from absl import flags

from cml_tf.system.command_line import run
from export.client.connection_flags import client
from export.client.examples import read_support
from export.client.graph_flags import graph_of_flags, sent

_SUPPORT = flags.DEFINE_string(
    "support", None, "Folder with one subfolder of images per class, an .npz, or a .csv.", required=True
)
_OUTPUT = flags.DEFINE_string("output", None, "File for the adapted task (.npz).", required=True)
_STEPS = flags.DEFINE_integer(
    "steps", None, "Inner steps, of a model that was exported with --most_steps; its own by default.", 0
)
_RATE = flags.DEFINE_float("rate", None, "Rate of these steps, likewise.")


def main(arguments: list[str]) -> None:
    """Adapts and writes the file."""
    del arguments
    support = read_support(Path(_SUPPORT.value))
    graph, (inputs,) = sent(graph_of_flags(), support)
    with client() as server:
        adapted = server.adapt(inputs, support.targets, graph, steps=_STEPS.value, rate=_RATE.value)
    adapted.save(_OUTPUT.value)
    to = "" if adapted.class_names is None else f" of {', '.join(adapted.class_names)}"
    print(
        f"{adapted.model} version {adapted.version} adapted to {len(support.names)} examples{to}: support loss "
        f"{adapted.loss_before:.4f} before, {adapted.loss_after:.4f} after; written to {_OUTPUT.value}"
    )
    if (trace := adapted.trace) is not None:
        losses = ", ".join(f"{loss:.4f}" for loss in trace.losses)
        print(f"support losses: {losses}" + (" (worse than before: ask for fewer steps)" if trace.made_worse else ""))


if __name__ == "__main__":
    run(main)

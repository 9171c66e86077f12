"""Predicts: `python -m export.client.predict --adapted=TASK.npz --query=DIR|FILE [--address --output_format=FORMAT]`.

With `--support=DIR|FILE.npz --model=NAME` instead of `--adapted` it adapts and predicts in one request. The answer is
written to standard output, or to `--output`.

For models on nodes of a graph: `--graph=GRAPH.npz --support=LABELS.csv --query=NODES.csv [--picture=FILE.png|svg]`;
each line of a .csv file is `node,label`, or only `node` in queries.
"""

from __future__ import annotations

import sys
from pathlib import Path

from absl import flags

from cml_tf.system.command_line import fail, run
from cml_tf.system.files import write_text
from export.client.adapted import Adapted
from export.client.answers import Answer
from export.client.connection_flags import client
from export.client.contact_sheet import contact_sheet
from export.client.errors import ClientError
from export.client.examples import ExampleSet, read_queries, read_support
from export.client.graph_flags import graph_of_flags, sent
from export.client.graphs import Graph
from export.client.printed import as_json, as_table

_QUERY = flags.DEFINE_string("query", None, "An image, a folder of images, an .npz, or a .csv of nodes.", required=True)
_ADAPTED = flags.DEFINE_string("adapted", None, "File that export.client.adapt wrote.")
_SUPPORT = flags.DEFINE_string(
    "support", None, "Folder with one subfolder of images per class, an .npz, or a .csv, instead of --adapted."
)
_FORMAT = flags.DEFINE_enum(
    "output_format", "table", ["table", "json", "html"], "Format of the answer; html is a page with the images."
)
_PICTURE = flags.DEFINE_string("picture", None, "File (.png or .svg) for a picture of the answer on the graph.")
_OUTPUT = flags.DEFINE_string("output", None, "File for the answer; standard output by default.")


def main(arguments: list[str]) -> None:
    """Asks and shows the answer."""
    del arguments
    if (_ADAPTED.value is None) == (_SUPPORT.value is None):
        fail("exactly one of --adapted and --support must be passed: use --adapted=TASK.npz or --support=DIR.")
    queries = read_queries(Path(_QUERY.value))
    support = read_support(Path(_SUPPORT.value)) if _SUPPORT.value else None
    graph = graph_of_flags()
    if _PICTURE.value:
        _check_picture(graph)
    answer = _answer(support, queries, graph)
    _show(_rendered(answer, queries, support))
    if _PICTURE.value and graph is not None:
        _draw(graph, answer, queries, support)


def _answer(support: ExampleSet | None, queries: ExampleSet, graph: Graph | None) -> Answer:
    if support is not None:
        part, (examples, asked) = sent(graph, support, queries)
        with client() as server:
            return server.adapt_and_predict(examples, support.targets, asked, part)
    adapted = Adapted.load(str(_ADAPTED.value))
    part, (asked,) = sent(graph, queries)
    with client(adapted.model) as server:
        return server.predict(adapted, asked, part)


def _check_picture(graph: Graph | None) -> None:
    # Here and below, because matplotlib takes a second to load.
    from export.client.graph_picture import check_picture

    if graph is None:
        raise ClientError("--picture needs a graph: pass --graph=FILE.npz.")
    check_picture(Path(str(_PICTURE.value)))


def _draw(graph: Graph, answer: Answer, queries: ExampleSet, support: ExampleSet | None) -> None:
    from export.client.graph_picture import write_graph_picture

    write_graph_picture(Path(str(_PICTURE.value)), graph, answer, queries, support)


def _rendered(answer: Answer, queries: ExampleSet, support: ExampleSet | None) -> str:
    if _FORMAT.value == "html":
        # Entities: the page says that it is UTF-8, which a terminal or a pipe need not be.
        return contact_sheet(answer, queries, support).encode("ascii", "xmlcharrefreplace").decode()
    if _FORMAT.value == "json":
        return as_json(answer, queries)
    return as_table(answer, queries, "utf-8" if _OUTPUT.value else None)


def _show(text: str) -> None:
    if _OUTPUT.value:
        write_text(Path(_OUTPUT.value), text)
    else:
        sys.stdout.write(text)


if __name__ == "__main__":
    run(main)

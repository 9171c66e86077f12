"""A model card for people."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any


def card_markdown(card: dict[str, Any]) -> str:
    """The card (see `export.card.model_card`) as Markdown."""
    sections = (
        _summary,
        _metrics,
        _use,
        _signatures,
        _status,
        _state,
        _origin,
    )
    return "\n".join(line for section in sections for line in (*section(card), "")).rstrip() + "\n"


def _summary(card: dict[str, Any]) -> Iterator[str]:
    problem, adaptation = card["problem"], card["adaptation"]
    kind = (
        f"{problem['ways']}-way classification" if "ways" in problem else f"regression of {problem['outputs']} values"
    )
    yield f"# {card['name']}"
    yield ""
    yield (
        f"Few-shot {kind}: the model adapts inside the request to the labelled examples that come with it, in "
        f"{adaptation['steps']} inner steps ({adaptation['rule']}, partition {adaptation['partition']}), and answers "
        f"through the readout `{adaptation['readout']}`."
    )
    yield ""
    yield from _table(
        ("", ""),
        [
            *_past(card),
            ("parameters served", f"{card['parameters']['served']:,}"),
            *((f"left behind: {name}", f"{count:,}") for name, count in card["parameters"]["left_behind"].items()),
        ],
    )


def _past(card: dict[str, Any]) -> Iterator[tuple[str, str]]:
    data, training = card["data"], card["training"]
    name = data.get("name", "not told: trained from Python")
    yield "data", f"{name}, {data['shots']} shots, {data['queries']} queries a class in training"
    if card["config"] is not None:
        yield "data fingerprint", f"`{data['fingerprint']}`"
        yield "trained", f"{training['steps']} outer steps, checkpoint `{training['checkpoint']}`"


def _metrics(card: dict[str, Any]) -> Iterator[str]:
    metrics = card["metrics"]
    yield "## Metrics"
    yield ""
    if metrics is None:
        yield (
            "Not evaluated at export. Export with `--evaluate_episodes=600`, or with `--evaluation=FILE` that holds "
            "what `python -m cml_tf.evaluate` printed."
        )
        return
    yield from _table(
        ("metric", "mean", "95 % interval over episodes", "episodes", "split", "seed"),
        [
            (
                metrics["metric"],
                f"{metrics['mean']:.4f}",
                f"± {metrics['ci95']:.4f}",
                metrics["episodes"],
                metrics.get("split", "not told"),
                metrics["seed"],
            )
        ],
    )
    yield ""
    yield f"Episodes: `{metrics['manifest_hash']}` (equal hash, equal episodes)."


def _use(card: dict[str, Any]) -> Iterator[str]:
    queries = card["queries"]
    yield "## Inputs and queries"
    yield ""
    yield _inputs(card["inputs"])
    yield f"- Normalisation: {', '.join(f'`{mode}`' for mode in queries['normalisation']) or 'none'}."
    if queries["predictions_depend_on_other_queries"]:
        yield (
            "- **A prediction depends on the other queries of its task** (measured: "
            f"{queries['measured_difference']:.2g}). Send the queries of a task together; a single query is normalised "
            "by itself and is judged worse."
        )
    else:
        yield "- A prediction does not depend on the other queries that are sent with it."
    yield "- Tasks of one request never influence each other."
    yield from _allowed(card["limits"], card["batching"])


def _allowed(limits: dict[str, Any], batching: dict[str, Any] | None) -> Iterator[str]:
    support, most = limits["support_examples"], limits["queries"]
    allowed = [f"{support:,} support examples"] if support is not None else []
    allowed += [f"{most:,} queries"] if most is not None else []
    if allowed:
        yield f"- A task may hold at most {' and '.join(allowed)}; one with more gets status 4."
    if most is None:
        yield "- Any number of queries is answered."
    if batching is not None:
        shapes = ", ".join(f"{bucket['support']} + {bucket['query']}" for bucket in batching["buckets"])
        yield f"- Made for servers that join requests; shape buckets (support examples + queries): {shapes}."


def _inputs(inputs: dict[str, Any]) -> str:
    if "node_features" in inputs:
        divided = "divided by their sum and " if inputs["normalise_features"] else ""
        return (
            f"- Examples are nodes, by number, of a graph that comes with every task: {inputs['node_features']:,} "
            f"features a node, float32, and edges in either direction. Send features as they are: inside the model "
            f"they are {divided}propagated (hops: {inputs['hops']})."
        )
    low, high = inputs["value_range"]
    return f"- Examples of shape {inputs['shape']}, {inputs['dtype']}, values from {low:g} to {high:g}."


def _signatures(card: dict[str, Any]) -> Iterator[str]:
    yield "## Signatures"
    for name, signature in card["signatures"].items():
        yield ""
        yield f"### `{name}`"
        yield ""
        rows = [
            (direction, f"`{key}`", value["dtype"], " x ".join("any" if axis is None else str(axis) for axis in shape))
            for direction in ("inputs", "outputs")
            for key, value in signature[direction].items()
            for shape in [value["shape"]]
        ]
        yield from _table(("", "name", "dtype", "shape"), [(row[0][:-1], *row[1:]) for row in rows])


def _status(card: dict[str, Any]) -> Iterator[str]:
    yield "## Status of a task"
    yield ""
    yield from _table(("status", "meaning"), card["status"].items())
    yield ""
    yield (
        "A task whose status is not 0 gets uniform probabilities (zeros in regression; status 1 of a task that adapts: "
        "the unadapted prediction), losses of 0, and an adapted state and fingerprint of 0. Its neighbours are not "
        "affected."
    )


def _state(card: dict[str, Any]) -> Iterator[str]:
    state = card["adapted_state"]
    yield "## Adapted state"
    yield ""
    yield (
        f"`adapted_state` holds {state['length']:,} {state['dtype']} values; each tensor is {state['order']}. It "
        f"belongs to models whose `model_fingerprint` is {card['model_fingerprint']}."
    )
    yield ""
    yield from _table(
        ("tensor", "shape", "offset", "size"),
        [(f"`{entry['name']}`", entry["shape"], entry["offset"], entry["size"]) for entry in state["entries"]],
    )


def _origin(card: dict[str, Any]) -> Iterator[str]:
    yield "## Origin"
    yield ""
    yield from _table(
        ("", ""),
        [
            ("exported", card["created"]),
            ("git commit", f"`{card['git_commit']}`" if card["git_commit"] else "not exported from a Git checkout"),
            ("SHA-256 of the variables", f"`{card['variables_sha256']}`"),
            *((name, version) for name, version in card["libraries"].items()),
        ],
    )
    if card["config"] is not None:
        yield ""
        yield "The configuration of the run stands in `config.json` beside this card."


def _table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> Iterator[str]:
    yield f"| {' | '.join(header)} |"
    yield f"|{'---|' * len(header)}"
    for row in rows:
        yield f"| {' | '.join(map(str, row))} |"

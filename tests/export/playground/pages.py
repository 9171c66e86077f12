"""What a person does at the playground's page, and what the page then sent and showed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

PADS = {"examples": "Pad for examples", "queries": "Pad for queries"}
# Strokes with points in [0, 1], like letters.
SHAPES = {
    "L": [[(0.3, 0.2), (0.3, 0.8), (0.7, 0.8)]],
    "T": [[(0.2, 0.2), (0.8, 0.2)], [(0.5, 0.2), (0.5, 0.8)]],
    "V": [[(0.2, 0.2), (0.5, 0.8), (0.8, 0.2)]],
}


def open_page(page: Any, server: Any, model: str, more: str = "") -> None:
    """Opens the playground of a model and waits until it has connected."""
    page.goto(f"http://127.0.0.1:{server.rest_port}/playground/?model={model}{more}")
    page.get_by_text("Connected to").wait_for()


def draw(page: Any, pad: str, strokes: Sequence[Sequence[tuple[float, float]]]) -> None:
    """Draws with the mouse."""
    canvas = page.get_by_role("group", name=PADS[pad]).locator("canvas").first
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    for stroke in strokes:
        places = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in stroke]
        page.mouse.move(*places[0])
        page.mouse.down()
        for place in places[1:]:
            page.mouse.move(*place, steps=4)
        page.mouse.up()


def give_examples(page: Any, shapes: Sequence[str]) -> None:
    """Draws one example for each of the first classes."""
    for number, shape in enumerate(shapes, 1):
        draw(page, "examples", SHAPES[shape])
        page.get_by_role("button", name=f"Add the drawing to Class {number}").click()


def adapt(page: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Presses the button; returns the inputs that were sent and the outputs that were received."""
    with page.expect_response(lambda response: response.url.endswith(":predict")) as caught:
        page.get_by_role("button", name="Adapt to the examples").click()
    page.get_by_text("Loss on the examples").wait_for()
    return caught.value.request.post_data_json["inputs"], caught.value.json()["outputs"]


def ask(page: Any, strokes: Sequence[Sequence[tuple[float, float]]]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Draws one stroke of a query; returns what the page sent for it and what it received."""
    with page.expect_response(lambda response: response.url.endswith(":predict")) as caught:
        draw(page, "queries", strokes)
    return caught.value.request.post_data_json, caught.value.json()


def shown(page: Any) -> dict[str, float]:
    """The bars: probability by name of the class."""
    items = page.get_by_role("list", name="Probabilities").get_by_role("listitem").all()
    return {item.locator(".name").inner_text(): item.locator("progress").evaluate("bar => bar.value") for item in items}


def wait_for_bars(page: Any, expected: Sequence[float]) -> None:
    """Returns once the bars are as expected."""
    page.wait_for_function(
        """expected => {
            const bars = [...document.querySelectorAll("progress")].map((bar) => bar.value);
            return bars.length === expected.length && bars.every((bar, i) => Math.abs(bar - expected[i]) < 1e-4);
        }""",
        arg=[float(value) for value in expected],
        timeout=10_000,
    )


def pixels(inputs: dict[str, Any], name: str) -> np.ndarray:
    """One input of a request, as an array."""
    return np.array(inputs[name], np.float32)

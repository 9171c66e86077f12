"""What a person does at the playground's page, and what the page then sent and showed."""

import numpy as np

# Strokes with points in [0, 1], like letters.
SHAPES = {
    "L": [[(0.3, 0.2), (0.3, 0.8), (0.7, 0.8)]],
    "T": [[(0.2, 0.2), (0.8, 0.2)], [(0.5, 0.2), (0.5, 0.8)]],
    "V": [[(0.2, 0.2), (0.5, 0.8), (0.8, 0.2)]],
}
PHONE = {"viewport": {"width": 375, "height": 700}, "has_touch": True, "is_mobile": True}


def pixels(inputs, name: str = "query_inputs") -> np.ndarray:
    """One input of a request, as an array."""
    return np.array(inputs[name], np.float32)


class Page:
    """A page of the playground; whatever is not here is playwright's. `errors` are those in the console."""

    def __init__(self, page, server) -> None:
        self._page, self._server, self.errors = page, server, []
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("console", lambda message: self.errors.append(message.text) if message.type == "error" else None)

    def __getattr__(self, name):
        return getattr(self._page, name)

    def goto(self, query: str) -> None:
        self._page.goto(f"{self._server.addresses['http']}/playground/{query}")

    def button(self, name: str):
        return self.get_by_role("button", name=name)

    def sees(self, *words: str) -> None:
        """Returns once all of them are there."""
        for part in words:
            self.get_by_text(part).first.wait_for()

    def alerts(self, words: str) -> None:
        self.get_by_role("alert").get_by_text(words).wait_for()

    def draw(self, pad: str, strokes) -> None:
        """Draws with the mouse, on the pad for examples or for queries."""
        canvas = self.get_by_role("group", name=f"Pad for {pad}").locator("canvas").first
        canvas.scroll_into_view_if_needed()
        box = canvas.bounding_box()
        for stroke in strokes:
            first, *others = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in stroke]
            self.mouse.move(*first)
            self.mouse.down()
            for place in others:
                self.mouse.move(*place, steps=4)
            self.mouse.up()

    def give(self, *shapes, classes=(1, 2, 3)) -> None:
        """Draws one example for each of the classes."""
        for number, shape in zip(classes, shapes, strict=False):
            self.draw("examples", SHAPES.get(shape, shape) if isinstance(shape, str) else shape)
            self.button(f"Add the drawing to Class {number}").click()

    def asked(self, act):
        """Does something; gives what the page then sent to the model, and what it received."""
        with self.expect_response(lambda response: response.url.endswith(":predict")) as caught:
            act()
        return caught.value.request.post_data_json, caught.value.json()

    def adapt(self):
        """Presses the button; gives the inputs that were sent and the outputs that were received."""
        request, answer = self.asked(self.button("Adapt to the examples").click)
        self.sees("Loss on the examples")
        return request["inputs"], answer["outputs"]

    def ask(self, strokes):
        return self.asked(lambda: self.draw("queries", strokes))

    def shown(self) -> dict[str, float]:
        """The bars: probability by name of the class."""
        items = self.get_by_role("list", name="Probabilities").get_by_role("listitem").all()
        values = [item.locator("progress").evaluate("bar => bar.value") for item in items]
        return dict(zip([item.locator(".name").inner_text() for item in items], values, strict=True))

    def wait_for_bars(self, expected) -> None:
        """Returns once the bars are as expected."""
        self.wait_for_function(
            """expected => {
                const bars = [...document.querySelectorAll("progress")].map((bar) => bar.value);
                return bars.length === expected.length && bars.every((bar, i) => Math.abs(bar - expected[i]) < 1e-4);
            }""",
            arg=[float(value) for value in expected],
            timeout=10_000,
        )

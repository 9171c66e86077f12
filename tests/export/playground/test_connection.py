"""Which server and model the page speaks to, and what it shows on a phone."""

import pytest

from tests.export.playground.pages import PHONE

pytestmark = pytest.mark.slow


def test_another_server_that_allows_it_and_no_third(look, playground, open_server):
    """As with a TensorFlow Serving elsewhere: every request crosses origins."""
    other, own = open_server.addresses["http"], f"{playground.addresses['http']}/playground/"
    assert open_server.rest("GET", "/playground/")[0] == 404, "a server without the flag has no playground"
    page, asked = look("images", f"&server={other}"), []
    page.on("request", lambda request: asked.append(request.url))
    page.reload()
    page.sees(f"Connected to images on {other}.")
    page.give("L", "T", "V")
    page.adapt()
    _, answer = page.ask([[(0.2, 0.2), (0.8, 0.8)]])
    page.wait_for_bars(answer["outputs"]["probabilities"][0][0])
    assert all(url.startswith((own, f"{other}/v1/")) for url in asked), asked
    # The policy holds back requests to servers that the address does not name.
    page.goto("?model=images")
    page.sees("Connected to")
    fetching = "address => fetch(address).then(() => false, () => true)"
    assert page.evaluate(fetching, f"{other}/v1/models/images")
    assert any("Content Security Policy" in message for message in page.errors)
    # The playground's own server allows no other origin; `localhost` is another one than 127.0.0.1.
    server = f"http://localhost:{playground.rest_port}"
    page.goto(f"?model=images&server={server}")
    page.sees(f"The server {server} cannot be reached. Check that it is running, and that it allows other")
    page.errors.clear()


FORMS = {
    "?model=": "No model chosen.",
    "?model=nope": "The server answered 404: Servable not found",
    "?model=images&server=ftp://x": "The server must be like http://host:8501, received ftp://x.",
}
CHANNELS = "signatures.adapt.inputs.support_inputs.tensor_shape.dim[4].size = '2'"
EDITS = {
    "delete signatures.adapt": "This model has no signature adapt: it is not an export of cml_tf",
    "delete signatures.adapt; delete signatures.predict": "This model adapts to the queries too",
    CHANNELS: "This model classifies examples of shape [16, 16, 2].",
    "delete signatures.adapt.inputs.support_inputs": "This model classifies nodes of a graph: ask it with",
}
_DESCRIBED = """async (edit) => {
    const { describe } = await import("/playground/model.js");
    const metadata = await (await fetch("/v1/models/images/metadata")).json();
    const signatures = metadata.metadata.signature_def.signature_def;
    EDIT;
    try { describe(metadata); return ""; } catch (error) { return error.message; }
}"""


def test_the_form_helps_out_and_says_which_models_it_cannot_show(look):
    page = look("images")
    for edit, words in EDITS.items():
        assert words in page.evaluate(_DESCRIBED.replace("EDIT", edit))
    for query, words in FORMS.items():
        page.goto(query)
        page.alerts(words)
        page.get_by_label("Server", exact=True).fill("")
        page.get_by_label("Model", exact=True).fill("waves")
        page.button("Connect").click()
        page.sees("Connected to waves")
    page.errors.clear()


@pytest.mark.parametrize(("model", "scheme"), [("images", "light"), ("waves", "dark")])
def test_on_a_phone(look, model, scheme):
    """No horizontal scrolling, and no letters fainter than WCAG AA asks for."""
    page = look(model, color_scheme=scheme, **PHONE)
    if model == "images":
        page.give("L", "T", "V")
        page.get_by_role("textbox", name="Name of class 1").fill("a-rather-long-name-" * 4)
        page.adapt()
    else:
        page.button("Five points of a random wave").tap()
        page.sees("Adapted to 5 points.")
    for colours in ("light", "dark"):
        page.emulate_media(color_scheme=colours)
        assert page.evaluate("document.documentElement.scrollWidth") <= 375
        assert page.evaluate(_FAINT) == []


def test_a_finger_draws_and_does_not_scroll(look):
    page = look("images", **PHONE)
    canvas = page.locator("canvas.sheet").first
    canvas.scroll_into_view_if_needed()
    box, before = canvas.bounding_box(), page.evaluate("scrollY")
    touch = page.context.new_cdp_session(page._page)
    # Upwards: that is how one scrolls down, and above there is nothing to scroll to.
    places = [{"x": box["x"] + 60, "y": box["y"] + 200 - 20 * step} for step in range(8)]
    for kind, point in zip(("Start", *["Move"] * 7), places, strict=True):
        touch.send("Input.dispatchTouchEvent", {"type": f"touch{kind}", "touchPoints": [point]})
    touch.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    page.locator("canvas.preview:visible").wait_for()
    assert page.evaluate("scrollY") == before
    # No tap: so soon after the drawing, Chromium takes a tap for the end of a fling.
    page.button("Add the drawing to Class 1").click()
    page.sees("1 example of 1 class.")


# The visible texts whose contrast with what is behind them is below 4.5.
_FAINT = """() => {
    const channels = (colour) => colour.match(/[\\d.]+/g).map(Number);
    const luminance = (colour) => {
        const [red, green, blue] = channels(colour).slice(0, 3).map((value) => value / 255)
            .map((value) => value <= 0.03928 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4);
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
    };
    const ground = (element) => {
        for (; element; element = element.parentElement) {
            const colour = getComputedStyle(element).backgroundColor;
            if ((channels(colour)[3] ?? 1) > 0) return colour;
        }
        return "rgb(255, 255, 255)";
    };
    const elements = [...document.querySelectorAll("body *")].filter((element) => element.checkVisibility()
        && [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim()));
    return elements.filter((element) => {
        const style = getComputedStyle(element);
        const front = luminance(element.namespaceURI.endsWith("svg") ? style.fill : style.color);
        const back = luminance(ground(element));
        return (Math.max(front, back) + 0.05) / (Math.min(front, back) + 0.05) < 4.5;
    }).map((element) => element.outerHTML);
}"""

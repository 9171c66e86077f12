"""Which server and model the page speaks to, and what it shows on a phone."""

from __future__ import annotations

import pytest

from tests.export.playground.pages import adapt, ask, give_examples, open_page, wait_for_bars

pytestmark = pytest.mark.slow


def test_another_server_that_allows_it(playground, open_server, page):
    """As with a TensorFlow Serving elsewhere: every request crosses origins."""
    other = f"http://127.0.0.1:{open_server.rest_port}"
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    open_page(page, playground, "images", f"&server={other}")
    page.get_by_text(f"Connected to images on {other}.").wait_for()
    give_examples(page, ["L", "T", "V"])
    adapt(page)
    _, answer = ask(page, [[(0.2, 0.2), (0.8, 0.8)]])
    wait_for_bars(page, answer["outputs"]["probabilities"][0][0])
    own = f"http://127.0.0.1:{playground.rest_port}/playground/"
    assert all(url.startswith((own, f"{other}/v1/")) for url in asked), asked


def test_a_server_without_the_flag_has_no_playground(open_server):
    assert open_server.rest("GET", "/playground/")[0] == 404


def test_another_server_that_does_not(playground, page):
    """The playground's own server allows no other origin; `localhost` is another one than 127.0.0.1."""
    server = f"http://localhost:{playground.rest_port}"
    page.goto(f"http://127.0.0.1:{playground.rest_port}/playground/?model=images&server={server}")
    page.get_by_text(
        f"The server {server} cannot be reached. Check that it is running, and that it allows other"
    ).wait_for()
    page.console_errors.clear()


def test_the_policy_holds_back_requests_to_servers_that_the_address_does_not_name(playground, open_server, page):
    open_page(page, playground, "images")
    address = f"http://127.0.0.1:{open_server.rest_port}/v1/models/images"
    refused = page.evaluate("address => fetch(address).then(() => false, () => true)", address)
    assert refused and any("Content Security Policy" in message for message in page.console_errors)
    page.console_errors.clear()


def test_the_form_helps_out(playground, page):
    for query, words in (
        ("?model=", "No model chosen."),
        ("?model=nope", "The server answered 404: Servable not found"),
        ("?model=images&server=ftp://x", "The server must be like http://host:8501, received ftp://x."),
    ):
        page.goto(f"http://127.0.0.1:{playground.rest_port}/playground/{query}")
        page.get_by_role("alert").get_by_text(words).wait_for()
        page.get_by_label("Server", exact=True).fill("")
        page.get_by_label("Model", exact=True).fill("waves")
        page.get_by_role("button", name="Connect").click()
        page.get_by_text("Connected to waves").wait_for()
    page.console_errors.clear()


def test_models_that_the_playground_cannot_show(playground, page):
    page.goto(f"http://127.0.0.1:{playground.rest_port}/playground/?model=images")
    channels = "signatures.adapt.inputs.support_inputs.tensor_shape.dim[4].size = '2'"
    for edit, words in (
        ("delete signatures.adapt", "This model has no signature adapt: it is not an export of cml_tf"),
        (channels, "This model classifies examples of shape [16, 16, 2]."),
        ("delete signatures.adapt.inputs.support_inputs", "This model classifies nodes of a graph: ask it with"),
    ):
        message = page.evaluate(
            f"""async () => {{
                const {{ describe }} = await import("/playground/model.js");
                const metadata = await (await fetch("/v1/models/images/metadata")).json();
                const signatures = metadata.metadata.signature_def.signature_def;
                {edit};
                try {{ describe(metadata); return ""; }} catch (error) {{ return error.message; }}
            }}"""
        )
        assert words in message


@pytest.mark.parametrize("model", ["images", "waves"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_on_a_phone(playground, browser, model, scheme):
    """No horizontal scrolling, and no letters fainter than WCAG AA asks for."""
    with browser.new_context(
        viewport={"width": 375, "height": 700}, has_touch=True, is_mobile=True, color_scheme=scheme
    ) as context:
        page = context.new_page()
        open_page(page, playground, model)
        if model == "images":
            give_examples(page, ["L", "T", "V"])
            page.get_by_role("textbox", name="Name of class 1").fill("a-rather-long-name-" * 4)
            adapt(page)
        else:
            page.get_by_role("button", name="Five points of a random wave").tap()
            page.get_by_text("Adapted to 5 points.").wait_for()
        assert page.evaluate("document.documentElement.scrollWidth") <= 375
        assert page.evaluate(_FAINT) == []


def test_a_finger_draws_and_does_not_scroll(playground, browser):
    with browser.new_context(viewport={"width": 375, "height": 700}, has_touch=True, is_mobile=True) as context:
        page = context.new_page()
        open_page(page, playground, "images")
        canvas = page.locator("canvas.sheet").first
        canvas.scroll_into_view_if_needed()
        box, before = canvas.bounding_box(), page.evaluate("scrollY")
        touch = context.new_cdp_session(page)
        # Upwards: that is how one scrolls down, and above there is nothing to scroll to.
        places = [{"x": box["x"] + 60, "y": box["y"] + 200 - 20 * step} for step in range(8)]
        touch.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": places[:1]})
        for place in places[1:]:
            touch.send("Input.dispatchTouchEvent", {"type": "touchMove", "touchPoints": [place]})
        touch.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
        page.locator("canvas.preview:visible").wait_for()
        assert page.evaluate("scrollY") == before
        # No tap: so soon after the drawing, Chromium takes a tap for the end of a fling.
        page.get_by_role("button", name="Add the drawing to Class 1").click()
        page.get_by_text("1 example of 1 class.").wait_for()


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

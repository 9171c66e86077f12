"""The page of a classifier: by mouse and keyboard, with files, and when things go wrong."""

import json
import re
from functools import partial

import numpy as np
import pytest
import tensorflow as tf

from export.client import FewShotClient
from export.client.advice import leave_one_out
from tests.export.playground.pages import SHAPES, pixels

pytestmark = pytest.mark.slow

slow = pytest.mark.slow


def test_a_drawing_is_answered_as_rest_answers_its_pixels(look, images):
    page = look("images")
    page.give("L", "T", "V")
    sent, adapted = page.adapt()
    assert sent["support_labels"] == [[0, 1, 2]]
    request, answer = page.ask(SHAPES["L"])
    query = request["inputs"]
    assert request["signature_name"] == "predict"
    assert all(query[name] == adapted[name] for name in ("adapted_state", "model_fingerprint"))
    probabilities = answer["outputs"]["probabilities"][0][0]
    support = {"support_inputs": pixels(sent, "support_inputs"), "support_labels": np.array([[0, 1, 2]], np.int32)}
    expected = images("serving_default", **support, query_inputs=pixels(query))
    np.testing.assert_allclose([[probabilities]], expected["probabilities"], atol=1e-5)
    page.wait_for_bars(probabilities)
    page.sees(f"Most likely Class {np.argmax(probabilities) + 1}: {100 * max(probabilities):.1f} %.")


def test_a_model_of_many_classes_offers_more_rows_as_they_are_needed(look):
    page = look("free")
    rows = page.get_by_role("textbox", name=re.compile("Name of class"))
    for number, shape in enumerate("LTVLTVL", 1):
        assert rows.count() == max(5, number)
        page.give(shape, classes=(number,))
    assert rows.count() == 7
    sent, _ = page.adapt()
    assert sent["support_labels"] == [[0, 1, 2, 3, 4, 5, 6]]
    _, answer = page.ask(SHAPES["L"])
    page.wait_for_bars(answer["outputs"]["probabilities"][0][0])


def test_classes_that_were_not_drawn_get_nothing(look):
    page = look("free")
    page.give("L", "T", classes=(2, 4))
    page.adapt()
    _, answer = page.ask(SHAPES["T"])
    probabilities = answer["outputs"]["probabilities"][0][0]
    assert probabilities[2:] == [0.0] * 5 and abs(sum(probabilities) - 1) < 1e-5
    page.wait_for_bars(probabilities[:2])


def test_how_sure_the_model_is_is_shown(look):
    page = look("judged")
    page.give("L", "T", classes=(1, 3))
    page.adapt()
    _, answer = page.ask(SHAPES["V"])
    outputs = answer["outputs"]
    calibrated, held = (outputs[name][0][0] for name in ("calibrated_probabilities", "prediction_set"))
    page.wait_for_bars(calibrated[:2])
    names = ("Class 1", "Class 3")
    likely = f"ost likely {names[int(np.argmax(calibrated))]}: {100 * max(calibrated):.1f} %."
    known = outputs["is_known"][0][0] == 1
    kept = ", ".join(name for name, one in zip(names, held, strict=False) if one)
    page.sees((f"M{likely}" if known else f"None of these classes. Among them m{likely}") + f" Prediction set: {kept}.")


def test_examples_are_judged_as_the_client_judges_them(look, playground):
    page = look("images")
    page.button("Check the examples").click()
    page.alerts("Add at least three examples of two classes first.")
    page.give("L", "T", "V")
    page.button("Check the examples").click()
    page.alerts("Add a second example to a class first")
    page.give("T", "L", classes=(1, 2))
    sent, _ = page.adapt()
    names = [f"Class {label + 1}" for label in sent["support_labels"][0]]
    client = FewShotClient(playground.addresses["http"], "images")
    wanted = leave_one_out(client, pixels(sent, "support_inputs")[0], names)
    page.button("Check the examples").click()
    right = round(wanted.accuracy * 4)
    page.sees(f"Left out in turn, {right} of 4 are taken for their class.", "would help most in Class 3.")
    marks = page.locator(".suspect .verdict")
    assert marks.all_inner_texts() == [f"looks like “{wanted.taken_for[place]}”" for place in sorted(wanted.suspects)]
    page.give("V", classes=(3,))
    assert marks.count() == 0 and page.get_by_text("Left out in turn").count() == 0


@slow
def test_drawings_look_like_the_data(look):
    """Dark ink on white, centred, of one size wherever and however large it was drawn; turned round where asked for."""
    page = look("images")
    page.give([[(0.1 + 0.3 * x, 0.6 + 0.3 * y) for x, y in stroke] for stroke in SHAPES["L"]], "L")
    pictures = pixels(page.adapt()[0], "support_inputs")[0]
    assert pictures.shape == (2, 16, 16, 1) and pictures.max() == 1 and pictures.min() < 0.1
    for picture in pictures[..., 0]:
        rows, columns = np.where(picture < 0.6)
        for places in (rows, columns):
            assert abs((places.min() + places.max()) / 2 - 7.5) <= 1
        # The larger side of a glyph is 18 of 28 pixels.
        assert abs(rows.max() - rows.min() + 1 - 16 * 18 / 28) <= 1.5
    assert np.abs(pictures[0] - pictures[1]).mean() < 0.05
    plain, _ = page.ask(SHAPES["V"])
    inverted = pixels(page.asked(page.get_by_label("The model was trained on white ink on black").check)[0]["inputs"])
    assert inverted[0, 0, 0, 0] == 0
    np.testing.assert_allclose(1 - inverted, pixels(plain["inputs"]), atol=1.01 / 255)


@slow
def test_the_keyboard_is_enough_and_every_control_has_a_name_and_shows_the_focus(look):
    page = look("images")

    def press(control, key="Enter"):
        control.focus()
        page.keyboard.press(key)

    def write(field, text):
        press(field, "Control+A")
        page.keyboard.type(text)

    def enter(pad, letter):
        write(page.get_by_role("group", name=f"Pad for {pad}").get_by_label("Or type a character"), letter)
        page.keyboard.press("Enter")

    visited = []
    while len(visited) < 60 and (focused := _next_focused(page)):
        visited.append(focused)
    assert len(visited) > 20 and all(outlined for _, outlined in visited), visited
    for control in page.locator("button:visible, input:visible, select:visible").all():
        assert control.evaluate(_NAME), control.evaluate("element => element.outerHTML")
    for number, letter in enumerate("LOX", 1):
        enter("examples", letter)
        press(page.button(f"Add the drawing to Class {number}"))
        write(page.get_by_role("textbox", name=f"Name of class {number}"), f"letter {letter}")
    page.asked(lambda: press(page.button("Adapt to the examples"), "Space"))
    page.sees("Adapted to 3 examples of 3 classes")
    assert page.evaluate("document.activeElement.textContent") == "Adapt to the examples"
    _, answer = page.asked(lambda: enter("queries", "O"))
    page.wait_for_bars(answer["outputs"]["probabilities"][0][0])
    assert list(page.shown()) == ["letter L", "letter O", "letter X"]
    page.sees(re.compile(r"Most likely letter [LOX]: \d+\.\d %\."))
    press(page.get_by_role("list", name="Examples of letter X").get_by_role("button"))
    page.sees("The examples have changed: adapt again")
    assert page.evaluate("document.activeElement.getAttribute('aria-label')") == "Add the drawing to letter X"


@slow
def test_fewer_classes_are_renormalised_and_an_opened_image_is_asked_about(look):
    page = look("images")
    page.give("L", "V", classes=(1, 3))
    assert page.adapt()[0]["support_labels"] == [[0, 1]]
    _, answer = page.ask(SHAPES["T"])
    first, second, unused = answer["outputs"]["probabilities"][0][0]
    assert unused > 1e-3
    page.wait_for_bars([first / (first + second), second / (first + second)])
    assert list(page.shown()) == ["Class 1", "Class 3"]
    grey = tf.io.encode_png(np.full((30, 30, 1), 51, np.uint8)).numpy()
    queries = page.get_by_role("group", name="Pad for queries")
    upload = queries.get_by_label("Or open an image", exact=True).set_input_files
    request, _ = page.asked(lambda: upload([{"name": "grey.png", "mimeType": "image/png", "buffer": grey}]))
    np.testing.assert_allclose(pixels(request["inputs"]), 0.2, atol=1e-6)
    # A stroke replaces it.
    assert pixels(page.ask(SHAPES["L"])[0]["inputs"]).max() == 1
    queries.get_by_role("button", name="Undo").click()
    page.wait_for_bars([0, 0])


@slow
def test_what_is_missing_or_no_image_is_said(look):
    page = look("images")
    page.button("Add the drawing to Class 1").click()
    page.sees("The pad is empty")
    page.button("Adapt to the examples").click()
    page.sees("Add examples of at least two classes first.")
    page.draw("queries", SHAPES["L"])
    page.sees("Adapt to some examples first.")
    words = {"name": "words.txt", "mimeType": "text/plain", "buffer": b"words"}
    page.get_by_label("Upload images of Class 1").set_input_files([words])
    page.sees("words.txt is not an image that this browser can read.")


@slow
def test_only_the_last_query_counts_and_a_state_of_another_version_is_told(look):
    page = look("images")
    page.give("L", "T", "V")
    page.adapt()
    held, failed = [], []
    page.on("requestfailed", lambda request: failed.append(request.post_data))

    def hold_the_first(route):
        if held:
            route.continue_()
        else:
            held.append(route.request.post_data)

    page.route("**/*:predict", hold_the_first)
    with page.expect_request("**/*:predict"):
        page.draw("queries", SHAPES["T"][:1])
    request, answer = page.ask(SHAPES["T"][1:])
    page.wait_for_bars(answer["outputs"]["probabilities"][0][0])
    assert failed == held and json.loads(held[0])["inputs"]["query_inputs"] != request["inputs"]["query_inputs"]

    def other_version(route):
        document = route.request.post_data_json
        document["inputs"]["model_fingerprint"] = [7]
        route.continue_(post_data=json.dumps(document))

    page.unroute("**/*:predict")
    page.route("**/*:predict", other_version)
    page.draw("queries", SHAPES["L"])
    page.sees("The server now has another version of the model. Adapt again.")
    assert set(page.shown().values()) == {0}


FAILURES = [
    ({"status": 429, "body": '{"error": "too many"}'}, "The server answered 429: too many. The server is busy."),
    ({"status": 502, "body": "<html>"}, "The server answered 502: Bad Gateway. See the log of the server."),
    ({"status": 200, "body": "<html>"}, "The answer of the server is not JSON"),
    ({"status": 200, "body": '{"outputs": {"status": [1]}}'}, "Adaptation diverged"),
    (None, "The server cannot be reached. Check that it is still running"),
]


def _fail(answer, route):
    if answer:
        route.fulfill(**answer)
    else:
        route.abort()


@slow
def test_a_server_that_fails(look):
    page = look("images")
    page.give("L", "T")
    for answer, words in FAILURES:
        page.route("**/*:predict", partial(_fail, answer))
        page.button("Adapt to the examples").click()
        page.alerts(words)
        page.sees("Not adapted.")
        page.unroute("**/*:predict")
        page.adapt()
        assert page.get_by_role("alert").get_by_text(words).count() == 0
    page.errors.clear()


def _next_focused(page):
    """Markup of what the focus comes to and whether its outline shows, or None once it has left the page."""
    page.keyboard.press("Tab")
    return page.evaluate("""() => {
        const element = document.activeElement;
        if (element === document.body) return null;
        const shown = element.matches(".button input") ? element.parentElement : element;
        return [element.outerHTML, parseFloat(getComputedStyle(shown).outlineWidth) >= 2];
    }""")


_NAME = """element => element.getAttribute("aria-label") || element.labels?.[0]?.textContent.trim()
    || (element.tagName === "BUTTON" && element.textContent.trim())"""

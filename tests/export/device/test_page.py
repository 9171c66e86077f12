"""The page that adapts in the browser: LiteRT.js answers as the interpreter, and nothing leaves the page."""

import json
import re

import numpy as np
import pytest
import tensorflow as tf

from export.device.page import RUNTIME, write_page
from export.errors import ExportError
from tests.export.device.conftest import SIZES
from tests.export.playground.pages import Page
from tests.export.served import inputs_of

ASK = """async ([support, labels, queries]) => {
    const { Device } = await import("/device.js");
    const device = await Device.open("letters.tflite");
    const { adapted_state } = await device.predict("adapt", { support_inputs: [support], support_labels: [labels] });
    const answer = await device.predict("predict", { adapted_state, query_inputs: [queries] });
    return { state: adapted_state[0], answer: answer.probabilities[0] };
}"""


@pytest.fixture(scope="module")
def folder(letters_file, tmp_path_factory):
    """A page with a small classifier of pictures of four pixels."""
    if not RUNTIME.exists():
        pytest.skip("no LiteRT.js: make device-runtime")
    return write_page(letters_file, tmp_path_factory.mktemp("pages") / "letters")


@pytest.fixture
def page(browser, folder, given_out):
    """A new page, and all that it asks for."""
    opened = Page(browser.new_context().new_page(), None)
    opened.address, opened.asked_for = given_out(folder), []
    opened.on("request", lambda request: opened.asked_for.append((request.method, request.url)))
    yield opened
    opened.context.close()


def test_the_browser_answers_as_the_interpreter(page, letters, letters_file):
    inputs = {name: array[0] for name, array in inputs_of(letters, support=SIZES.support, query=5).items()}
    support, labels, queries = (inputs[name] for name in ("support_inputs", "support_labels", "query_inputs"))
    page._page.goto(f"{page.address}/letters.json")
    found = page.evaluate(ASK, [support.tolist(), labels.tolist(), queries.tolist()])
    runner = tf.lite.Interpreter(str(letters_file)).get_signature_runner
    state = runner("adapt")(support_inputs=support, support_labels=labels)["adapted_state"]
    np.testing.assert_allclose(found["state"], state, rtol=1e-5, atol=1e-5)
    # One more than the file takes at a time.
    expected = [
        runner("predict")(adapted_state=state, query_inputs=np.repeat(query[None], SIZES.query, 0))["probabilities"][0]
        for query in queries
    ]
    np.testing.assert_allclose(found["answer"], expected, rtol=1e-5, atol=1e-5)


def test_a_person_adapts_and_asks_without_a_server(page):
    page._page.goto(f"{page.address}/")
    page.sees("Loaded letters.tflite, which adapts to 6 examples", "nothing of them is sent anywhere")
    page.give("L", "T", "V")
    page.button("Adapt to the examples").click()
    page.alerts("exactly 6 examples, received 3: add 3")
    page.give("L", "T", "V")
    page.button("Adapt to the examples").click()
    page.sees("Adapted to 6 examples of 3 classes")
    page.draw("queries", [[(0.3, 0.2), (0.3, 0.8)]])
    page.sees("Most likely")
    assert sum(page.shown().values()) == pytest.approx(1, abs=1e-4)
    assert all(method == "GET" and url.startswith(page.address) for method, url in page.asked_for)
    # What the runtime tells of its accelerators counts as no error of the page.
    assert [words for words in page.errors if not re.search("INFO: |WARNING: |GPU", words)] == []


@pytest.mark.slow
def test_a_page_is_written_whole_or_not_at_all(letters_file, tmp_path):
    with pytest.raises(ExportError, match="make device-runtime"):
        write_page(letters_file, tmp_path / "page", tmp_path)
    with pytest.raises(ExportError, match="must not exist yet"):
        write_page(letters_file, tmp_path)
    runtime = tmp_path / "runtime"
    (runtime / "core" / "dist").mkdir(parents=True)
    (runtime / "core" / "dist" / "index.js").write_text("another")
    with pytest.raises(ExportError, match="LiteRT.js of the lock file"):
        write_page(letters_file, tmp_path / "page", runtime)
    mixed = tmp_path / "mixed.tflite"
    mixed.with_suffix(".json").write_bytes(letters_file.with_suffix(".json").read_bytes())
    for content in (b"", letters_file.read_bytes() + b" "):
        mixed.write_bytes(content)
        with pytest.raises(ExportError, match=r"must be the file that mixed.json describes.*both files of one export"):
            write_page(mixed, tmp_path / "page", runtime)
    for path in (mixed, mixed.with_suffix(".json")):
        path.unlink()
    with pytest.raises(ExportError, match=r"absent.tflite and absent.json"):
        write_page(tmp_path / "absent.tflite", tmp_path / "page", runtime)
    whole = tmp_path / "whole.tflite"
    whole.write_bytes(b"")
    whole.with_suffix(".json").write_text(json.dumps({"signatures": {"adapt_and_predict": {}}}))
    with pytest.raises(ExportError, match="signature adapt"):
        write_page(whole, tmp_path / "page", runtime)
    for text, told in {"": "cannot be read", "[1]": "none", "{}": "none", '{"signatures": 3}': "none"}.items():
        whole.with_suffix(".json").write_text(text)
        with pytest.raises(ExportError, match=f"whole.json .*{told}.*: run python -m export.device again"):
            write_page(whole, tmp_path / "page", runtime)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["runtime", "whole.json", "whole.tflite"]

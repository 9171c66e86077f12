"""A server with the playground, and how a browser looks at it."""

import pytest

from tests.export.playground.pages import Page
from tests.export.server.conformance.make_models import config_text
from tests.export.server.running import running


@pytest.fixture(scope="session")
def serve(tmp_path_factory, waves, images, free, judged):
    """Serves a small regression and three small classifiers."""

    def serve(flag):
        root = tmp_path_factory.mktemp("playground")
        models = {"waves": waves, "images": images, "free": free, "judged": judged}
        places = {name: served.directory.parent for name, served in models.items()}
        (root / "models.config").write_text(config_text(places))
        return running(f"--model_config_file={root / 'models.config'}", flag, log=root / "log")

    return serve


@pytest.fixture(scope="session")
def playground(serve):
    """With the playground; no other origin may ask it."""
    with serve("--playground") as server:
        yield server


@pytest.fixture(scope="session")
def open_server(serve):
    """Without the playground, for pages of any origin."""
    with serve("--cors") as server:
        yield server


@pytest.fixture
def look(browser, playground):
    """Opens the page of a model, which must not write an error into the console."""
    opened = []

    def look(model, more="", **device):
        page = Page(browser.new_context(**device).new_page(), playground)
        opened.append(page)
        page.goto(f"?model={model}{more}")
        page.get_by_text("Connected to").wait_for()
        return page

    yield look
    errors = [error for page in opened for error in page.errors]
    for page in opened:
        page.context.close()
    assert errors == []

"""A server with the playground, and a browser that looks at it."""

from __future__ import annotations

import shutil

import pytest
from playwright.sync_api import sync_playwright

from tests.export.server.conformance.make_models import config_text
from tests.export.server.running import running


@pytest.fixture(scope="session")
def playground(tmp_path_factory, waves, images):
    """Serves a small regression and a small classifier with the playground; no other origin may ask it."""
    with _served("--playground", root=tmp_path_factory.mktemp("playground"), waves=waves, images=images) as server:
        yield server


@pytest.fixture(scope="session")
def open_server(tmp_path_factory, waves, images):
    """The same models without the playground, for pages of any origin."""
    with _served("--cors", root=tmp_path_factory.mktemp("open"), waves=waves, images=images) as server:
        yield server


def _served(*flags, root, **models):
    config = root / "models.config"
    config.write_text(config_text({name: served.directory.parent for name, served in models.items()}))
    return running(f"--model_config_file={config}", *flags, log=root / "log")


@pytest.fixture(scope="session")
def browser():
    """Headless Chromium."""
    executable = shutil.which("chromium")
    if executable is None:
        pytest.skip("no chromium on PATH (Debian: apt-get install chromium)")
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=executable)
        yield browser
        browser.close()


@pytest.fixture
def page(browser):
    """A page that must not write an error into the console."""
    with browser.new_context() as context:
        page = context.new_page()
        errors = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        page.console_errors = errors
        yield page
    assert errors == []

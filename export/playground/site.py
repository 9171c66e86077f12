"""Gives out the playground's files. The page itself speaks nothing but the public REST API."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import parse_qs, quote

from starlette.responses import Response

PATH = "/playground/"

_HTML, _CSS = "text/html; charset=utf-8", "text/css; charset=utf-8"
_SCRIPT, _PICTURE = "text/javascript; charset=utf-8", "image/svg+xml"
# Every file by its name: whatever else a client asks for is not there, however it spells the path.
FILES = {
    "index.html": _HTML,
    "style.css": _CSS,
    "classifier.css": _CSS,
    "regression.css": _CSS,
    "icon.svg": _PICTURE,
    "advice.js": _SCRIPT,
    "class_row.js": _SCRIPT,
    "classifier.js": _SCRIPT,
    "device.js": _SCRIPT,
    "errors.js": _SCRIPT,
    "ink.js": _SCRIPT,
    "latest.js": _SCRIPT,
    "main.js": _SCRIPT,
    "model.js": _SCRIPT,
    "pad.js": _SCRIPT,
    "pixels.js": _SCRIPT,
    "plot.js": _SCRIPT,
    "probabilities.js": _SCRIPT,
    "regression.js": _SCRIPT,
    "rest.js": _SCRIPT,
    "task.js": _SCRIPT,
}
STATIC = Path(__file__).parent / "static"
# As narrow as a source of a Content-Security-Policy is written; nothing of it can end the directive or the header.
_ORIGIN = re.compile(r"https?://[A-Za-z0-9.-]{1,253}(:[0-9]{1,5})?")


class Site:
    """The playground's files, read once.

    Args:
      models: that the server has; where it is one, the page needs not be told its name.

    Raises:
      OSError: if the installation lacks one of the files.
    """

    def __init__(self, models: Sequence[str]) -> None:
        self._only = models[0] if len(models) == 1 else None
        self._contents = {name: (STATIC / name).read_bytes() for name in FILES}

    def answer(self, method: str, target: str) -> Response | None:
        """The answer to a request, or None if the path is not the playground's.

        Args:
          method: of HTTP.
          target: path and query, as they were sent.
        """
        path, _, query = target.partition("?")
        if path == PATH.rstrip("/"):
            return _redirection(PATH + (f"?{query}" if query else ""))
        if not path.startswith(PATH):
            return None
        if method not in ("GET", "HEAD"):
            return Response(status_code=405, headers={"allow": "GET, HEAD"})
        if path == PATH and not query and self._only is not None:
            return _redirection(address("", self._only))
        name = path.removeprefix(PATH) or "index.html"
        if name not in FILES:
            return Response(f"the playground has no file {name!r}: start at {PATH}.\n", 404, _headers("text/plain"))
        return Response(self._contents[name], headers={**_headers(FILES[name]), **_policy(query)})


def address(server: str, model: str) -> str:
    """Where the playground of a model is; `server` is scheme, host and port of the server."""
    return f"{server}{PATH}?model={quote(model, safe='')}"


def _redirection(target: str) -> Response:
    return Response(status_code=307, headers={"location": target})


def _headers(media_type: str) -> dict[str, str]:
    return {
        "content-type": media_type,
        "x-content-type-options": "nosniff",
        "referrer-policy": "no-referrer",
        # An update of the server must not meet half of the old page in a browser's cache.
        "cache-control": "no-store",
    }


def _policy(query: str) -> dict[str, str]:
    """Nothing from elsewhere; requests go to this server and to the one that the page's address names, if any."""
    named = [origin.removesuffix("/") for origin in parse_qs(query).get("server", [])]
    servers = ["'self'", *filter(_ORIGIN.fullmatch, named)]
    directives = {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": "'self'",
        "img-src": "'self'",
        "connect-src": " ".join(servers),
        "base-uri": "'none'",
        "form-action": "'self'",
        "frame-ancestors": "'none'",
    }
    return {"content-security-policy": "; ".join(f"{name} {value}" for name, value in directives.items())}

"""The playground's files: what is given out, under which policy, and that they need nothing from elsewhere."""

import re
from pathlib import Path

import export.playground
from export.playground.site import Site, address
from export.status import MEANINGS

STATIC = Path(export.playground.__file__).parent / "static"
TEXTS = {path.name: path.read_text() for path in STATIC.iterdir()}
SITE = Site(["letters"])


def _policy(name):
    return SITE.answer("GET", f"/playground/{name}").headers["content-security-policy"]


def test_every_file_is_given_out_with_its_type_and_policy():
    kinds = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
    for name, text in TEXTS.items():
        response = SITE.answer("GET", f"/playground/{name}")
        assert response.status_code == 200 and response.body.decode() == text
        assert response.headers["content-type"].startswith(kinds[Path(name).suffix])
        assert response.headers["x-content-type-options"] == "nosniff"
        policy = _policy(name)
        assert "default-src 'none'" in policy and "script-src 'self'" in policy and "connect-src 'self';" in policy
        assert "unsafe" not in policy and "*" not in policy
    # The page is the directory itself.
    assert SITE.answer("GET", "/playground/?model=letters").body.decode() == TEXTS["index.html"]


ORIGINS = ["http://127.0.0.1:8501", "https://models.example.org", "http://gpu-1:80/"]
NO_ORIGINS = [
    "*",
    "http:",
    "http://*",
    "http://a;script-src%20*",
    "http://a%0d%0ax:y",
    "javascript:1",
    "http://a/b",
    "",
]


def test_requests_may_also_go_to_the_server_that_the_address_names_and_nowhere_else():
    for server in ORIGINS:
        assert f"connect-src 'self' {server.removesuffix('/')};" in _policy(f"?server={server}&model=x")
    for server in NO_ORIGINS:
        assert _policy(f"?server={server}&model=x") == _policy("?model=x")


ELSEWHERE = [
    "nothing.js",
    "../site.py",
    "%2e%2e/site.py",
    "..%2fsite.py",
    "static/main.js",
    "/etc/passwd",
    "main.js/",
    ".",
]


def test_what_is_not_of_the_playground_is_not_found():
    for name in ELSEWHERE:
        response = SITE.answer("GET", f"/playground/{name}")
        assert response.status_code == 404 and b"import" not in response.body
    refused = SITE.answer("POST", "/playground/")
    assert refused.status_code == 405 and refused.headers["allow"] == "GET, HEAD"
    assert SITE.answer("GET", "/v1/models/letters") is SITE.answer("GET", "/playgrounds/") is None


def test_the_name_of_the_only_model_is_filled_in():
    site, several = Site(["a letter/1"]), Site(["one", "two"])
    redirection = site.answer("GET", "/playground/")
    assert (redirection.status_code, redirection.headers["location"]) == (307, "/playground/?model=a%20letter%2F1")
    assert site.answer("GET", redirection.headers["location"]).status_code == 200
    assert several.answer("GET", "/playground/").status_code == 200
    assert several.answer("GET", "/playground?model=two").headers["location"] == "/playground/?model=two"
    assert address("http://127.0.0.1:8501", "two") == "http://127.0.0.1:8501/playground/?model=two"


def test_no_file_needs_anything_from_elsewhere_or_from_a_build_step_and_every_status_has_words():
    for text in TEXTS.values():
        # The name space of SVG and the example of an address are never fetched.
        links = set(re.findall(r"https?://[^\s\"'<>`$)]+", text)) - {"http://www.w3.org/2000/svg"}
        assert all(link.startswith("http://host:8501") for link in links), links
        imported = re.findall(r'^import .* from "(.+)";$', text, re.MULTILINE)
        assert {name.removeprefix("./") for name in imported} <= TEXTS.keys()
        assert not re.search(r"\bon[a-z]+=|style=|innerHTML|\beval\(", text), "the policy forbids code in markup"
    statuses = re.search(r"export const STATUS = \{(.*?)\n\};", TEXTS["errors.js"], re.DOTALL)[1]
    assert {int(code) for code in re.findall(r"^  (\d+):", statuses, re.MULTILINE)} == MEANINGS.keys() - {0}


def test_the_server_serves_the_page_beside_the_api(playground):
    status, body, headers = playground.rest("GET", "/playground/?model=images")
    assert status == 200 and "<title>Few-shot playground</title>" in body
    assert "connect-src 'self';" in headers["content-security-policy"]
    assert playground.rest("GET", "/playground/../v1/models/images")[0] == 404
    assert playground.rest("GET", "/v1/models/images")[0] == 200
    assert playground.rest("HEAD", "/playground/main.js")[:2] == (200, "")

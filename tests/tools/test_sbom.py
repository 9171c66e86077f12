"""The bill of materials says what the lock says."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tools.sbom import components

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("lock", ["requirements.txt", "requirements-dev.txt"])
def test_every_pin_of_the_lock_is_a_component_that_something_needs(lock):
    command = [sys.executable, str(ROOT / "tools" / "sbom.py"), str(ROOT / lock)]
    texts = [subprocess.run(command, capture_output=True, text=True, check=True).stdout for _ in range(2)]
    assert texts[0] == texts[1]
    bill = json.loads(texts[0])
    assert (bill["bomFormat"], bill["specVersion"], bill["version"]) == ("CycloneDX", "1.6", 1)
    pins = [line.split(" ;")[0] for line in (ROOT / lock).read_text().splitlines() if line[:1].isalnum()]
    assert [f"{part['name']}=={part['version']}" for part in bill["components"]] == pins and len(pins) > 50
    places = [part["purl"] for part in bill["components"]]
    assert len(set(places)) == len(places) and all(place.startswith("pkg:pypi/") for place in places)
    own = bill["metadata"]["component"]["bom-ref"]
    needs = {row["ref"]: row["dependsOn"] for row in bill["dependencies"]}
    assert set(needs) == {own, *places} and {name for row in needs.values() for name in row} == set(places)
    assert any(place.startswith("pkg:pypi/tensorflow@") for place in needs[own])


def test_a_line_that_is_no_pin_is_refused():
    assert components("a==1 ; python_version < '4'\n    # via\n    #   b\n    #   c-d (pyproject.toml)\n") == [
        {"name": "a", "version": "1", "marker": "python_version < '4'", "asked_for_by": ["b", "c-d"]}
    ]
    with pytest.raises(ValueError, match="line 1 must be"):
        components("a>=1")

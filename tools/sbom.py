"""What is installed with this project, as CycloneDX: `python tools/sbom.py [requirements.txt] >build/sbom.json`.

Everything comes from the lock file: each distribution with its version, when it is needed and by whom. The file has no
hashes, since it holds for every index and platform that has these versions; the same lock gives the same document.
"""

from __future__ import annotations

import json
import re
import sys
import tomllib
import uuid
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).resolve().parents[1]
_PIN = re.compile(r"(?P<name>[A-Za-z0-9._-]+)==(?P<version>[^ ;]+)(?: ; (?P<marker>.+))?")
_VIA = re.compile(r" +#(?: via|  ) +(?P<name>[A-Za-z0-9._-]+)(?: \(pyproject\.toml\))?")


def components(lock: str) -> list[dict[str, Any]]:
    """The distributions of a lock file, each with the names of those that ask for it.

    Args:
      lock: the text of the file.

    Raises:
      ValueError: for a line that is neither a pin nor a comment.
    """
    found: list[dict[str, Any]] = []
    for number, line in enumerate(lock.splitlines(), 1):
        if pin := _PIN.fullmatch(line):
            found.append({**pin.groupdict(), "asked_for_by": []})
        elif asking := _VIA.fullmatch(line):
            found[-1]["asked_for_by"].append(asking["name"])
        elif line.strip() and not line.lstrip().startswith("#"):
            raise ValueError(f"line {number} must be NAME==VERSION or a comment, received {line!r}: run make lock.")
    return found


def document(lock: str, project: dict[str, Any]) -> dict[str, Any]:
    """The bill of materials of a lock file, in CycloneDX 1.6.

    Args:
      lock: the text of the file.
      project: the table `project` of pyproject.toml.
    """
    own = f"pkg:pypi/{project['name'].replace('_', '-')}@{project['version']}"
    listed = components(lock)
    # Of some there is a version for each Python.
    places = [(_plain(part["name"]), _place(part)) for part in listed] + [(_plain(project["name"]), own)]
    needs: dict[str, list[str]] = {place: [] for _, place in places}
    for part in listed:
        asking = set(map(_plain, part["asked_for_by"]))
        for place in (place for name, place in places if name in asking):
            needs[place].append(_place(part))
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, own + lock)}",
        "version": 1,
        "metadata": {
            "component": {
                "type": "library",
                "bom-ref": own,
                "name": project["name"],
                "version": project["version"],
                "purl": own,
                "licenses": [{"license": {"id": project["license"]}}],
            }
        },
        "components": [_component(part) for part in listed],
        "dependencies": [{"ref": place, "dependsOn": sorted(set(needs[place]))} for place in sorted(needs)],
    }


def _component(part: dict[str, Any]) -> dict[str, Any]:
    place = _place(part)
    marker = [{"name": "python:marker", "value": part["marker"]}] if part["marker"] else []
    return {
        "type": "library",
        "bom-ref": place,
        "name": part["name"],
        "version": part["version"],
        "purl": place,
        "scope": "required",
        **({"properties": marker} if marker else {}),
    }


def _place(part: dict[str, Any]) -> str:
    return f"pkg:pypi/{_plain(part['name'])}@{part['version']}"


def _plain(name: str) -> str:
    """As indexes compare names."""
    return re.sub(r"[-_.]+", "-", name).lower()


if __name__ == "__main__":
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else _ROOT / "requirements.txt"
    facts = tomllib.loads((_ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    print(json.dumps(document(path.read_text(encoding="utf-8"), facts), indent=2))

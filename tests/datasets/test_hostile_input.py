"""Hostile and broken input gives one line of error, or what docs/INPUT.md says; nothing in it is run."""

import itertools
import json
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from cml_tf.errors import UserError
from tests.datasets.hostile import archives, arrays, folders, images, pickles
from tests.helpers.programs import ROOT

TABLES = {
    "archive": archives.CASES,
    "array": arrays.CASES,
    "folder": folders.CASES,
    "image": images.REFUSED,
    "pickle": pickles.CASES,
}
# A second each, as TensorFlow prepares to decode.
DECODED = {"undecodable": images.UNDECODABLE, "read": images.READ}
_LONGEST = 700


def rows(tables):
    return [pytest.param(case, id=f"{kind}: {name}") for kind, cases in tables.items() for name, case in cases.items()]


def check(case, folder):
    if not isinstance(case.expected, str):
        assert case.expected(case.run(folder))
        return
    with pytest.raises(UserError, match=case.expected) as caught:
        case.run(folder)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < _LONGEST


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("case", rows(TABLES))
def test_one_line_or_a_documented_choice(case, tmp_path):
    check(case, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("case", rows(DECODED))
def test_one_line_or_a_documented_choice_of_decoding(case, tmp_path):
    check(case, tmp_path)


def test_there_are_as_many_cases_as_are_claimed():
    count = sum(map(len, itertools.chain(TABLES.values(), DECODED.values())))
    assert f"each of {count} hostile inputs" in (ROOT / "README.md").read_text()
    assert f"Each of the {count} cases" in (ROOT / "docs/INPUT.md").read_text()


def test_pictures_in_two_splits_are_told(tmp_path, caplog):
    for split, names in {"train": "ab", "validation": "cd", "test": "ae"}.items():
        for name in names:
            folder = tmp_path / split / f"{split} {name}"
            folder.mkdir(parents=True)
            (folder / "0.png").write_bytes(images.png(4, 4, rows=images.zlib.compress((b"\0" + name.encode() * 4) * 4)))
    folders.datasets.load("image_folder", str(tmp_path), image_size=(4, 4), channels=1)
    assert "1 images of one split are in another too" in caplog.text
    assert f"{tmp_path}/test/test a/0.png = {tmp_path}/train/train a/0.png" in caplog.text


BOMBS = """
import json, resource, sys, tempfile
from pathlib import Path
from tests.datasets.hostile import archives, arrays, images, pickles
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
said = images.faults_of_bombs()
for name, case in {**pickles.BOMBS, **arrays.BOMBS, **archives.BOMBS}.items():
    try:
        case.run(Path(tempfile.mkdtemp(dir=sys.argv[1])))
        said[name] = "read"
    except ValueError as error:
        said[name] = str(error)
print(json.dumps([resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, said]))
"""
_MOST_KIB = 400 * 1024


@pytest.mark.slow
def test_bombs_take_a_bounded_memory(tmp_path):
    def bounded():
        # Nothing may bring the machine down, if the product fails.
        resource.setrlimit(resource.RLIMIT_AS, (1 << 34, 1 << 34))

    done = subprocess.run(
        [sys.executable, "-c", BOMBS, str(tmp_path)],
        cwd=Path(__file__).parents[2],
        preexec_fn=bounded,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    grown, said = json.loads(done.stdout.splitlines()[-1])
    assert all(said[name] for name in said if name != "text") and grown < _MOST_KIB, (grown, said)

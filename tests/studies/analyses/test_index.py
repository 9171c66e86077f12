"""The index of analyses: what a next start keeps of it, and what a page takes from it."""

import json

import pytest

from cml_tf.experiments.stored import RunError
from cml_tf.studies.analyses.index import copy_analyses, earlier_entries
from cml_tf.studies.page import Picture

ENTRY = {"title": "Cosine", "caption": "By layer.", "files": {"png": "cosine.png", "csv": "cosine.csv"}}
OUTSIDE = {**ENTRY, "files": {"png": "../cosine.png"}}


def test_pictures_of_analyses_are_copied_and_damaged_ones_refused(tmp_path):
    folder = tmp_path / "analyses"
    folder.mkdir()
    (tmp_path / "cosine.png").write_bytes(b"picture")
    for entries in (None, "[", "3", [{}], [ENTRY], [OUTSIDE]):
        if entries is not None:
            index = entries if isinstance(entries, str) else json.dumps({"analyses": entries})
            (folder / "index.json").write_text(index)
        with pytest.raises(RunError, match=r"index\.json"):
            copy_analyses(folder, tmp_path)
    (folder / "cosine.png").write_bytes(b"of analyses")
    (folder / "index.json").write_text(json.dumps({"analyses": [ENTRY, {"name": "linear_cka", "files": {}}]}))
    assert copy_analyses(folder, tmp_path) == [Picture("cosine.png", "Cosine", "By layer.")]
    assert (tmp_path / "cosine.png").read_bytes() == b"of analyses"


def test_entries_of_the_same_runs_stay(tmp_path):
    made = {"runs": [{"name": "MAML", "step": 5}], "episodes": 4}
    assert earlier_entries(tmp_path, made) == {}
    entry = {"name": "linear_cka", "files": {}}
    (tmp_path / "index.json").write_text(json.dumps({**made, "analyses": [entry]}))
    assert earlier_entries(tmp_path, made) == {"linear_cka": entry}
    assert earlier_entries(tmp_path, {**made, "episodes": 5}) == {}
    for damaged in ("[", "3", "{}"):
        (tmp_path / "index.json").write_text(damaged)
        with pytest.raises(RunError, match=r"index\.json must be the index of an earlier start"):
            earlier_entries(tmp_path, made)

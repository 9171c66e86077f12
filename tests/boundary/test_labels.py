"""A class is one class everywhere, and two are two."""

import json
import os

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from cml_tf import datasets
from cml_tf.boundary.labels import ClassNameError, class_labels, class_name, file_text, numbered
from cml_tf.datasets import DatasetError
from export.client.adapted import Adapted
from export.client.errors import ClientError
from export.client.examples import read_support
from export.client.inputs import as_targets
from export.client.interface import Interface
from tests.helpers.few_shot import image_model
from tests.helpers.small_tasks import pictures

COMPOSED, APART = "caf\u00e9", "cafe\u0301"
MODEL = Interface(1, (1,), 5, True, False, {})
LABELS = [
    ([tf.constant("cat"), tf.constant("dog")], ("cat", "dog")),
    (np.array(["cat", "dog"], "S"), ("cat", "dog")),
    (np.array([b"cat", "dog"], object), ("cat", "dog")),
    ([APART, COMPOSED.encode()], (COMPOSED, COMPOSED)),
    (["\ufeffcat", " cat\n"], ("cat", "cat")),
    (["Cat", "cat"], ("Cat", "cat")),
    ([b"caf\xe9", os.fsdecode(b"caf\xe8")], ("caf\\xe9", "caf\\xe8")),
    (np.array([0.0, 10.0], np.float32), (0, 10)),
    ([np.int8(3), 2], (3, 2)),
    ([True, False], ("True", "False")),
    ([1, "cat"], ("1", "cat")),
]
REFUSED = [
    (["cat", np.nan], "nan .float. as label 1"),
    (np.array(["cat", np.nan]), "label 1 .*'nan'"),
    (["cat", None], "None .NoneType. as label 1"),
    (np.ma.array([1, 2], mask=[False, True]), "None"),
    ([b"", "cat"], "label 0 .*''"),
    ([0.5, 1.0], "0.5"),
    ([np.inf, 1.0], "inf"),
    (["a\0", "a"], "label 0"),
    (["\ud800", "a"], "Unicode"),
    ("cat", "a list or an array"),
    ([["cat"], ["dog"]], "received"),
]


@pytest.fixture(scope="module")
def classifier():
    return image_model()


@pytest.mark.parametrize(("given", "expected"), LABELS)
def test_labels_have_one_spelling(given, expected):
    assert tuple(class_labels(given)) == expected
    names, numbers = numbered(class_labels(given))
    assert [names[number] for number in numbers] == [str(label) for label in expected]
    assert names == (("0", "10") if expected == (0, 10) else tuple(sorted(set(map(str, expected)))))


@pytest.mark.parametrize(("given", "message"), REFUSED)
def test_what_is_no_label_is_refused(given, message):
    with pytest.raises(ClassNameError, match=message) as caught:
        class_labels(given)
    assert len(str(caught.value)) < 300 and "\n" not in str(caught.value)


def test_model_client_and_adapted_tasks_agree(classifier, tmp_path):
    for given in (tf.constant(["cat", "dog"]), [b"dog", b"cat"], [APART.encode(), "dog"]):
        expected = numbered(class_labels(given))[0]
        assert classifier.adapt(pictures(2), given).class_names == expected == as_targets(given, MODEL, 2)[1]
    for refused in (lambda bad: classifier.adapt(pictures(2), bad), lambda bad: as_targets(bad, MODEL, 2)):
        with pytest.raises((ValueError, ClientError), match="None"):
            refused(["cat", None])
    Adapted("m", 1, (APART, "b"), np.zeros(1, np.float32), 1).save(tmp_path / "task.npz")
    assert Adapted.load(tmp_path / "task.npz").class_names == (COMPOSED, "b")


def _folders(root, *names):
    for name in names:
        os.makedirs(os.path.join(os.fsencode(root), name))
        with open(os.path.join(os.fsencode(root), name, b"\xe9.png"), "wb") as file:
            Image.new("RGB", (4, 4)).save(file, "PNG")


def load(root):
    return datasets.load("image_folder", root=str(root), image_size=(4, 4))


@pytest.mark.slow
def test_folders_that_are_no_utf_8_are_classes_and_two_spellings_of_one_are_told(tmp_path):
    for split in ("train", "validation", "test"):
        _folders(tmp_path / split, split.encode() + b"\xe8", split.encode() + APART.encode())
    names = load(tmp_path).class_names("test")
    support = read_support(tmp_path / "test")
    assert names == tuple(support.targets) == ("test\\xe8", f"test{COMPOSED}")
    assert support.names[0] == "test\\xe8/\\xe9.png"
    # The other spelling of what is a class of the test part.
    _folders(tmp_path / "train", b"test" + COMPOSED.encode())
    with pytest.raises(DatasetError, match=f"'test{COMPOSED}' is in train and in test"):
        load(tmp_path)
    _folders(tmp_path / "test", b"test" + COMPOSED.encode())
    with pytest.raises(ClientError, match=f"test{COMPOSED}.*accents"):
        read_support(tmp_path / "test")


def test_a_split_file_may_spell_accents_otherwise(tmp_path):
    _folders(tmp_path, COMPOSED.encode(), b"b", b"c\xe9")
    splits = {"train": [APART], "validation": ["b"], "test": ["c\\xe9"]}
    (tmp_path / "splits.json").write_text("\ufeff" + json.dumps(splits), encoding="utf-8")
    dataset = load(tmp_path)
    assert [dataset.class_names(split) for split in dataset.splits] == [(COMPOSED,), ("b",), ("c\\xe9",)]


def test_names_of_files_are_shown_as_their_bytes():
    assert file_text(os.fsdecode(b"\xff.png")) == "\\xff.png"
    assert class_name(os.fsdecode("羊".encode("gbk"))) != class_name(os.fsdecode("狗".encode("gbk")))

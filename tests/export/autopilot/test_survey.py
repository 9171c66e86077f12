"""What a folder of pictures allows: splits, sizes, channels, and what is refused."""

from __future__ import annotations

import zlib

import numpy as np
import pytest
from PIL import Image

from cml_tf.datasets import load
from cml_tf.datasets.base import SPLITS
from cml_tf.errors import DatasetError, UserError
from export.autopilot.survey import Wishes, split_classes, survey
from tests.datasets.hostile.images import png
from tests.helpers.drawn_images import write_classes
from tests.helpers.run_folders import snapshot


@pytest.fixture
def photos(tmp_path):
    """Twelve classes of four pictures, 36 x 30."""
    write_classes(tmp_path / "photos", [f"thing {number}" for number in range(12)], images=4, size=(36, 30))
    return tmp_path / "photos"


@pytest.mark.parametrize(("classes", "held"), [(6, 2), (8, 2), (12, 3), (20, 5), (30, 6), (100, 20)])
def test_classes_are_dealt_once_by_a_seed(classes, held):
    names = [f"{number}" for number in range(classes)]
    parts = split_classes(names, 0)
    assert sorted(name for part in parts.values() for name in part) == sorted(names)
    assert [len(parts[split]) for split in SPLITS] == [classes - 2 * held, held, held]
    assert parts == split_classes(names[::-1], 0) and parts != split_classes(names, 1)


def test_a_folder_is_split_by_links_and_left_as_it_is(photos, tmp_path):
    before = snapshot(photos)
    found = survey(photos, tmp_path / "links", 0, 5.0)
    assert not (tmp_path / "links").exists(), "nothing is kept before all is known"
    found.link()
    found.link()
    assert snapshot(photos) == before
    assert (found.ways, found.shots, found.queries, found.edge, found.channels) == (3, 2, 2, 28, 3)
    dataset = load("image_folder", str(found.root), image_size=(found.edge, found.edge), channels=found.channels)
    assert {split: dataset.class_names(split) for split in SPLITS} == found.classes
    assert (found.pictures, found.fewest) == (48, 4)


def test_a_folder_with_splits_keeps_them(tmp_path):
    for split, count in (("train", 4), ("validation", 2), ("test", 3)):
        write_classes(tmp_path / "own" / split, [f"{split} {number}" for number in range(count)])
    found = survey(tmp_path / "own", tmp_path / "links", 0, 5.0)
    found.link()
    assert found.root == tmp_path / "own" and not (tmp_path / "links").exists()
    assert len(found.classes["train"]) == 4 and found.ways == 2


@pytest.mark.parametrize(
    ("side", "minutes", "edge"), [(20, 99, 28), (36, 5, 32), (60, 5, 32), (60, 10, 48), (90, 999, 84)]
)
def test_the_size_follows_from_pictures_and_time(tmp_path, side, minutes, edge):
    write_classes(tmp_path / "photos", "abcdef", images=2, size=(side, side + 9))
    assert survey(tmp_path / "photos", tmp_path / "links", 0, minutes).edge == edge


@pytest.mark.parametrize(
    ("mode", "kind", "channels"), [("L", "png", 1), ("RGB", "png", 1), ("RGB", "gif", 3), ("1", "png", 1)]
)
def test_pictures_without_colours_are_read_in_grey_where_they_can_be(tmp_path, mode, kind, channels):
    for name in "abcdef":
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(2):
            grey = np.random.RandomState(number).randint(0, 256, (20, 20)).astype(np.uint8)
            Image.fromarray(grey).convert(mode).save(tmp_path / "photos" / name / f"{number}.{kind}")
    assert survey(tmp_path / "photos", tmp_path / "links", 0, 5.0).channels == channels


def test_wishes_are_followed_where_the_pictures_allow_them(photos, tmp_path):
    found = survey(photos, tmp_path / "links", 0, 5.0, Wishes(ways=2, shots=1, image_size=40))
    assert (found.ways, found.shots, found.queries, found.edge) == (2, 1, 3, 40)
    for wishes, told in (
        (Wishes(ways=4), "--ways must be 2 to 3 with these pictures, received 4"),
        (Wishes(shots=4), "--shots must be 1 to 3"),
        (Wishes(image_size=8), "--image_size must be 16 to 512"),
    ):
        with pytest.raises(UserError, match=told):
            survey(photos, tmp_path / "links", 0, 5.0, wishes)


def test_what_is_not_enough_is_told(tmp_path):
    def refused(told):
        with pytest.raises(DatasetError, match=told):
            survey(tmp_path / "photos", tmp_path / "links", 0, 5.0)

    refused("--data must be a folder")
    write_classes(tmp_path / "photos", "abcde", images=2)
    refused("at least 6 folders of classes .* found 5")
    write_classes(tmp_path / "photos", "f", images=1)
    refused("at least 2 pictures, received 1 of 'f'")
    (tmp_path / "photos" / "f" / "9.png").write_bytes(b"no picture")
    refused(r"9\.png cannot be read as a picture")
    # The name of the chunk behind half of its rows.
    damaged = png(20, 20, kind=2, rows=zlib.compress(bytes(20 * 61))[:9]).replace(b"IEND", b"I\xc4ND")
    (tmp_path / "photos" / "f" / "9.png").write_bytes(damaged)
    refused(r"9\.png cannot be read as a picture \(broken PNG file")
    assert not (tmp_path / "links").exists()

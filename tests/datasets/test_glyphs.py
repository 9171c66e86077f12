import unicodedata

import numpy as np
import pytest

from cml_tf import datasets
from cml_tf.datasets import glyphs as module
from cml_tf.datasets.glyphs import FACES, SCRIPTS, VARIATIONS, draw, load_faces


def test_splits_are_by_script_and_letters_of_one_look_are_one_class(glyphs):
    # Of the 1,330 letters (731 Latin, 186 Cyrillic, 293 Greek, 77 Armenian, 43 Georgian) these look different.
    assert [len(module.letters_of(scripts)) for scripts in SCRIPTS.values()] == [731 + 186, 293, 77 + 43]
    assert [len(glyphs.class_names(split)) for split in glyphs.splits] == [862, 225, 107]
    for split, scripts in SCRIPTS.items():
        assert {unicodedata.name(letter).split()[0] for letter in glyphs.class_names(split)} == set(scripts)
    kept = {letter for split in SCRIPTS for letter in glyphs.class_names(split)}
    assert {"A", "\N{GREEK SMALL LETTER ALPHA}"} <= kept
    assert not kept & {"\N{CYRILLIC CAPITAL LETTER A}", "\N{GREEK CAPITAL LETTER ALPHA}"}
    assert not kept & set("\N{ARMENIAN SMALL LETTER OH}\N{ARMENIAN SMALL LETTER HO}\N{ARMENIAN CAPITAL LETTER SEH}")


def test_no_test_letter_looks_like_one_seen_in_training(glyphs):
    """A direct comparison, pixel by pixel, of some test letters with all training letters."""
    faces = load_faces()

    def pictures(letters):
        plain = [module.plain_pictures(draw(letter, faces[::5])) for letter in letters]
        return np.stack(plain).astype(np.float32) / 255.0

    trained, tested = pictures(glyphs.class_names("train")), pictures(glyphs.class_names("test")[::6])
    for picture in tested:
        distances = np.square(trained - picture).sum(axis=(2, 3))
        # Every fifth face only, so a little room below the limit on the average over all of them.
        assert distances.mean(axis=1).min() > module.LOOK_ALIKE_ACROSS / 2


def test_pictures_are_black_ink_on_white_paper_and_in_one_class_only(glyphs):
    owners = {}
    for pool in glyphs.pools.values():
        assert pool.images.shape[1:] == (28, 28, 1) and (pool.counts == len(FACES) * VARIATIONS).all()
        images = pool.images.reshape(len(pool.images), -1)
        assert (images.min(axis=1) < 100).all() and (images.mean(axis=1) > 128).all()
        for name, image in zip(np.repeat(np.array(pool.class_names), pool.counts), pool.images, strict=True):
            assert owners.setdefault(image.tobytes(), name) == name


def test_samples_of_a_class_differ_follow_from_the_letter_and_are_drawn_once(glyphs, monkeypatch):
    pool = glyphs.pools["train"]
    number = pool.class_names.index("g")
    held = pool.images[number * 24 : (number + 1) * 24]
    assert len({image.tobytes() for image in held}) == 24
    np.testing.assert_array_equal(module.samples(draw("g", load_faces()), VARIATIONS, seed=ord("g"))[..., None], held)
    monkeypatch.setattr("cml_tf.datasets.glyphs._build", lambda: pytest.fail("rendered again"))
    again = datasets.load("glyphs").pools
    assert [pool.fingerprint for pool in again.values()] == [pool.fingerprint for pool in glyphs.pools.values()]

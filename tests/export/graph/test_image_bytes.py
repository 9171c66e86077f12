"""Image files in the request: decoded as the loaders decode them, and damaged ones told by status."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from cml_tf.datasets.image_files import decode_and_resize, decode_contents, scale
from export import status
from export.graph.image_bytes import MOST_PIXELS, declared_pixels, decode_images
from tests.export.served import IMAGE_SHAPE, WAYS
from tests.helpers.drawn_images import encoded, pixels
from tests.helpers.pictures import FAULTY, SOUND, TURNED

PNG = [encoded(pixels(seed, (20, 24), 3)) for seed in range(5)]
JPEG = [encoded(pixels(seed, (20, 24), 3), "JPEG") for seed in range(2)]
LABELS = np.array([[0, 1, 2]], np.int32)
DAMAGED = {
    "empty": b"",
    "text": b"not an image",
    "PNG cut short": PNG[0][:100],
    "PNG header only": PNG[0][:8],
    "PNG of a flipped bit": PNG[0][:60] + bytes([PNG[0][60] ^ 255]) + PNG[0][61:],
    "JPEG cut short": JPEG[0][:200],
    "JPEG header only": JPEG[0][:4],
    "GIF header only": b"GIF89a" + b"\xff" * 20,
    "BMP header only": b"BM" + b"\xff" * 60,
}


def files(*contents: bytes) -> np.ndarray:
    array = np.empty((1, len(contents)), object)
    array[0] = contents
    return array


def request(support=tuple(PNG[:3]), query=tuple(PNG[3:])):
    labels = LABELS[:, : len(support)]
    return {"support_inputs_bytes": files(*support), "support_labels": labels, "query_inputs_bytes": files(*query)}


def test_files_are_decoded_as_the_loaders_decode_them(images):
    support, query = [PNG[0], JPEG[0], PNG[1]], [PNG[2], JPEG[1]]
    answer = images("adapt_and_predict_bytes", **request(support, query))
    arrays = {
        f"{name}_inputs": np.stack([scale(decode_and_resize(c, IMAGE_SHAPE[:2], 1)) for c in contents])[None]
        for name, contents in (("support", support), ("query", query))
    }
    for key, value in images("serving_default", support_labels=LABELS, **arrays).items():
        np.testing.assert_allclose(answer[key], value, rtol=1e-5, atol=1e-5, err_msg=key)
    assert answer["status"].tolist() == [status.OK]


@pytest.mark.parametrize("kind", DAMAGED)
def test_a_damaged_file_is_told_by_status(images, kind):
    alone = images("adapt_and_predict_bytes", **request())
    for where in ("support_inputs_bytes", "query_inputs_bytes"):
        two_tasks = {name: np.concatenate([array, array]) for name, array in request().items()}
        two_tasks[where][1, 1] = DAMAGED[kind]
        answer = images("adapt_and_predict_bytes", **two_tasks)
        assert answer["status"].tolist() == [status.OK, status.NON_FINITE_INPUT]
        np.testing.assert_allclose(answer["probabilities"][1], 1 / WAYS)
        np.testing.assert_allclose(answer["probabilities"][0], alone["probabilities"][0], rtol=1e-5, atol=1e-5)


def test_no_query_files_are_fine_and_no_support_files_a_size_fault(images):
    answer = images("adapt_and_predict_bytes", **request(query=()))
    assert answer["status"].tolist() == [status.OK] and answer["probabilities"].shape == (1, 0, WAYS)
    assert images("adapt_and_predict_bytes", **request(support=()))["status"].tolist() == [status.SIZE]


@pytest.fixture(scope="module")
def decoder():
    kind = tf.TensorSpec([None], tf.string)
    return tf.function(lambda contents: decode_images(contents, (8, 9, 3)), [kind], autograph=False)


@pytest.mark.parametrize("name", FAULTY)
def test_what_people_would_not_see_is_refused_inside_the_graph_too(decoder, name):
    images, complete = decoder(tf.constant([PNG[0], FAULTY[name]]))
    assert not complete.numpy() and not images.numpy().any()


@pytest.mark.parametrize("name", [*SOUND, *TURNED])
def test_sound_files_are_decoded_as_the_loaders_decode_them(decoder, name):
    content = {**SOUND, **TURNED}[name]
    images, complete = decoder(tf.constant([content, PNG[0]]))
    assert complete.numpy()
    loaded = decode_contents([content], names=["it"], image_size=(8, 9), channels=3)
    np.testing.assert_array_equal(images[0], scale(loaded)[0])


def test_the_header_is_read_as_it_is_written():
    for kind in ("PNG", "JPEG", "GIF", "BMP"):
        for channels in (1, 3):
            assert int(declared_pixels(tf.constant(encoded(pixels(0, (21, 34), channels), kind)))) == 21 * 34
    # Another format is never decoded.
    assert int(declared_pixels(tf.constant(b"RIFF....WEBP"))) > MOST_PIXELS


def test_a_header_cannot_claim_little_by_overflow(decoder):
    png = bytearray(PNG[0])
    png[16:24] = b"\x7f\xff\xff\xff" * 2
    assert int(declared_pixels(tf.constant(bytes(png)))) == (2**31 - 1) ** 2
    png[16:24] = b"\xff\xff\xff\xff\x00\x00\x00\x01"
    assert not decoder(tf.constant([bytes(png)]))[1].numpy()


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF"])
def test_a_small_file_of_a_huge_image_is_not_decoded(decoder, kind):
    large = encoded(np.zeros((5001, 5000, 1), np.uint8), kind)
    assert len(large) < 2**20 and int(declared_pixels(tf.constant(large))) == 5001 * 5000 > MOST_PIXELS
    images, complete = decoder(tf.constant([PNG[0], large]))
    assert not complete.numpy()
    assert images.shape == (2, 8, 9, 3) and not images.numpy().any()

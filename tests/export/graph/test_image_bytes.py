"""Image files in the request: decoded as the loaders decode them, and damaged ones told by status."""

import io

import numpy as np
import pytest
import tensorflow as tf

from cml_tf.datasets.image_faults import gif_pixels
from cml_tf.datasets.image_files import decode_and_resize, decode_contents, scale
from export import status
from export.graph.image_bytes import MOST_PIXELS, declared_pixels, decode_images
from tests.export.served import CLOSE, IMAGE_SHAPE, WAYS
from tests.helpers.drawn_images import encoded, pixels
from tests.helpers.pictures import FAULTY, SOUND, TURNED

pytestmark = pytest.mark.slow

PNG = [encoded(pixels(seed, (20, 24), 3)) for seed in range(4)]
JPEG = [encoded(pixels(seed, (20, 24), 3), "JPEG") for seed in range(2)]
LABELS = np.array([[0, 1, 2]], np.int32)
DAMAGED = [b"", b"not an image", PNG[0][:100], PNG[0][:8], PNG[0][:60] + bytes([PNG[0][60] ^ 255]) + PNG[0][61:]]
DAMAGED += [JPEG[0][:200], JPEG[0][:4], b"GIF89a" + b"\xff" * 20, b"BM" + b"\xff" * 60]


def _request(support=(PNG[0], JPEG[0], PNG[1]), query=(PNG[2], JPEG[1])):
    files = {"support_inputs_bytes": np.array([support], object), "query_inputs_bytes": np.array([query], object)}
    return {**files, "support_labels": LABELS[:, : len(support)]}


def _loaded(content):
    return scale(decode_and_resize(content, IMAGE_SHAPE[:2], 1))


def test_files_are_decoded_as_the_loaders_decode_them_and_damaged_ones_told_by_status(images):
    call = _request()
    answer = images("adapt_and_predict_bytes", **call)
    arrays = {
        f"{name}_inputs": np.stack([_loaded(content) for content in call[f"{name}_inputs_bytes"][0]])[None]
        for name in ("support", "query")
    }
    for key, value in images("serving_default", support_labels=LABELS, **arrays).items():
        np.testing.assert_allclose(answer[key], value, **CLOSE, err_msg=key)
    assert answer["status"].tolist() == [status.OK]
    for number, damaged in enumerate(DAMAGED):
        two_tasks = {name: np.concatenate([array, array]) for name, array in call.items()}
        two_tasks[("support_inputs_bytes", "query_inputs_bytes")[number % 2]][1, 1] = damaged
        spoilt = images("adapt_and_predict_bytes", **two_tasks)
        assert spoilt["status"].tolist() == [status.OK, status.NON_FINITE_INPUT], damaged[:20]
        np.testing.assert_allclose(spoilt["probabilities"][1], 1 / WAYS)
        np.testing.assert_allclose(spoilt["probabilities"][0], answer["probabilities"][0], **CLOSE)
    none = images("adapt_and_predict_bytes", **_request(query=()))
    assert none["status"].tolist() == [status.OK] and none["probabilities"].shape == (1, 0, WAYS)
    assert images("adapt_and_predict_bytes", **_request(support=()))["status"].tolist() == [status.SIZE]


@pytest.fixture(scope="module")
def decoder():
    kind = tf.TensorSpec([None], tf.string)
    return tf.function(lambda contents: decode_images(contents, (8, 9, 3)), [kind], autograph=False)


def test_sound_files_are_decoded_inside_the_graph_too_and_what_people_would_not_see_is_refused(decoder):
    sound = {**SOUND, **TURNED}
    images, complete = decoder(tf.constant(list(sound.values())))
    loaded = scale(decode_contents(list(sound.values()), names=list(sound), image_size=(8, 9), channels=3))
    assert complete.numpy()
    for name, image, expected in zip(sound, images.numpy(), loaded, strict=True):
        np.testing.assert_array_equal(image, expected, err_msg=name)
    for name, content in FAULTY.items():
        images, complete = decoder(tf.constant([PNG[0], content]))
        assert not complete.numpy() and not len(images), name


def test_a_small_file_of_a_huge_image_is_not_decoded(decoder):
    # Step by step the longest file would take minutes.
    declared = tf.function(declared_pixels, [tf.TensorSpec([], tf.string)], autograph=False)
    for kind in ("PNG", "JPEG", "GIF", "BMP"):
        for channels in (1, 3):
            assert int(declared(tf.constant(encoded(pixels(0, (21, 34), channels), kind)))) == 21 * 34
    # All pictures of an animation are decoded to give the first, each of its own size.
    small, wide = (encoded(np.zeros((*size, 1), np.uint8), "GIF") for size in ((8, 8), (2000, 3000)))
    hidden = small[:-1] + 5 * wide[wide.index(b",") : -1] + b";"
    for content in (small, hidden, SOUND["animated GIF"], small[:-9], small[:14]):
        assert int(declared(tf.constant(content))) == max(gif_pixels(io.BytesIO(content)), 64)
    assert int(declared(tf.constant(hidden))) > MOST_PIXELS
    assert int(declared(tf.constant(small[:-1] + b"!\xfe" + b"\1x" * 9000))) > MOST_PIXELS, "too many parts"
    # Another format is never decoded.
    assert int(declared(tf.constant(b"RIFF....WEBP"))) > MOST_PIXELS
    # A header cannot claim little by overflow.
    png = bytearray(PNG[0])
    png[16:24] = b"\x7f\xff\xff\xff" * 2
    assert int(declared(tf.constant(bytes(png)))) == (2**31 - 1) ** 2
    png[16:24] = b"\xff\xff\xff\xff\x00\x00\x00\x01"
    large = [encoded(np.zeros((5001, 5000, 1), np.uint8), kind) for kind in ("PNG", "JPEG", "GIF")]
    for content in large:
        assert len(content) < 2**20 and int(declared(tf.constant(content))) == 5001 * 5000 > MOST_PIXELS
    for content in (bytes(png), hidden, *large):
        images, complete = decoder(tf.constant([PNG[0], content]))
        assert not complete.numpy() and images.shape == (0, 8, 9, 3)

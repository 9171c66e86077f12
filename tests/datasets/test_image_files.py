"""Image files decode to what people see, in graphs as in the loaders, or are refused by name."""

import io
import struct

import numpy as np
import pytest
import tensorflow as tf

from cml_tf.datasets import DatasetError
from cml_tf.datasets.image_faults import image_fault
from cml_tf.datasets.image_files import decode_and_resize, decode_contents, decode_files, scale
from tests.helpers.drawn_images import encoded, pixels
from tests.helpers.pictures import COLOUR, FAULTY, SOUND, TURNED, saved, seen


def decoded(files, size):
    return decode_contents(list(files.values()), names=list(files), image_size=size, channels=3)


@pytest.mark.parametrize("size", [(10, 12), (12, 10)], ids=["upright", "on their side"])
def test_files_decode_to_what_is_seen(size):
    """Turned as viewers turn them."""
    files = {name: content for name, content in {**SOUND, **TURNED}.items() if seen(content).shape[:2] == size}
    for (name, content), found in zip(files.items(), decoded(files, size), strict=True):
        assert image_fault(io.BytesIO(content)) is None, name
        # Pillow cuts 16 bits at 255, where viewers scale.
        deep = np.repeat((np.arange(120).reshape(10, 12, 1) * 500) >> 8, 3, 2)
        shown = deep if name == "16 bits" else seen(content)
        # Decoders of JPEG differ by a few levels, and by some more in CMYK.
        tolerance = 24 if "CMYK" in name else (12 if name in TURNED else 8) if "JPEG" in name else 0
        np.testing.assert_allclose(found.astype(int), shown, atol=tolerance, err_msg=name)


INTEL = b"II*\x00"
BLOCKS = (b"", INTEL, INTEL + b"\xff" * 4, b"MM\x00*\x00\x00\x00\x08\xff\xff", INTEL + b"\x08\0\0\0\x01\0\x12\x01")


def test_a_damaged_exif_block_leaves_a_picture_as_it_is():
    files = {block: saved(COLOUR, "JPEG", exif=b"Exif\x00\x00" + block, quality=95) for block in BLOCKS}
    plain, *others = decoded({"plain": saved(COLOUR, "JPEG", quality=95), **files}, (10, 12))
    for other in others:
        np.testing.assert_array_equal(other, plain)


@pytest.mark.parametrize("name", FAULTY)
def test_faulty_files_are_named(tmp_path, name):
    (tmp_path / "a.png").write_bytes(FAULTY[name])
    with pytest.raises(DatasetError, match="a.png cannot be used: .*(transparent|BMP|WEBP|TIFF)"):
        decode_files([str(tmp_path / "a.png")], image_size=(4, 4), channels=3)
    with pytest.raises(DatasetError, match="it cannot be used"):
        decoded({"it": FAULTY[name]}, (4, 4))


def test_what_is_no_image_and_other_channels_are_refused():
    short = b"BM" + struct.pack("<IIIIHHHH", 30, 0, 26, 12, 1, 1, 1, 24) + bytes(4)
    for contents in (b"", b"BM", short, encoded(pixels(0))[:40]):
        assert image_fault(io.BytesIO(contents)) is None, "left to the decoder"
        with pytest.raises(tf.errors.InvalidArgumentError):
            decode_and_resize(tf.constant(contents), (4, 4), 3)
    for channels in (0, 2, 4):
        with pytest.raises(ValueError, match="channels must be 1"):
            decode_and_resize(encoded(pixels(0)), (4, 4), channels)
    for kind in ("BMP", "GIF"):
        with pytest.raises(DatasetError, match="it cannot be read .* 1 channels: save it as PNG"):
            decode_contents([SOUND[kind]], names=["it"], image_size=(4, 4), channels=1)


def test_colour_becomes_luma_and_resizing_smooths_and_never_leaves_the_range():
    colour = pixels(2)
    result = decode_and_resize(encoded(colour), (10, 12), 1)
    assert result.dtype == tf.uint8 and result.shape == (10, 12, 1)
    assert np.abs(result.numpy()[..., 0] - colour.astype(float) @ [0.299, 0.587, 0.114]).max() < 2
    # Stripes one pixel wide vanish into grey when halved with antialiasing; without it they would come out at random.
    stripes = np.zeros((32, 32, 1), np.uint8)
    stripes[:, ::2] = 255
    inner = decode_and_resize(encoded(stripes), (16, 16), 1).numpy()[:, 2:-2]
    assert np.abs(inner.astype(int) - 127.5).max() <= 1
    white = encoded(np.full((31, 17, 3), 255, np.uint8))
    for size in ((28, 28), (5, 3)):
        np.testing.assert_array_equal(decode_and_resize(white, size, 3), np.full((*size, 3), 255))
    np.testing.assert_allclose(scale(tf.constant([0, 51, 255], tf.uint8)), np.float32([0.0, 0.2, 1.0]), rtol=1e-7)

"""Files decode to what people see, or are refused by name."""

import io

import numpy as np
import pytest

from cml_tf.datasets import DatasetError
from cml_tf.datasets.image_faults import image_fault
from cml_tf.datasets.image_files import decode_contents, decode_files
from tests.helpers.drawn_images import encoded, pixels
from tests.helpers.pictures import COLOUR, FAULTY, SOUND, TURNED, saved, seen


def decoded_in_its_size(content, channels=3):
    height, width = seen(content).shape[:2]
    return decode_contents([content], names=["it"], image_size=(height, width), channels=channels)[0]


@pytest.mark.parametrize("name", FAULTY)
def test_faulty_files_are_named(tmp_path, name):
    path = tmp_path / "a.png"
    path.write_bytes(FAULTY[name])
    told = "a.png cannot be used: it( has transparent pixels| is (not )?a BMP|s format is (WEBP|TIFF))"
    with pytest.raises(DatasetError, match=told):
        decode_files([str(path)], image_size=(4, 4), channels=3)
    with pytest.raises(DatasetError, match="it cannot be used"):
        decode_contents([FAULTY[name]], names=["it"], image_size=(4, 4), channels=3)


@pytest.mark.parametrize("name", {**SOUND, **TURNED})
def test_others_decode_to_what_is_seen(name):
    """Turned as viewers turn them."""
    content = {**SOUND, **TURNED}[name]
    assert image_fault(io.BytesIO(content)) is None
    # Pillow cuts 16 bits at 255, where viewers scale.
    deep = np.repeat((np.arange(120).reshape(10, 12, 1) * 500) >> 8, 3, 2)
    shown = deep if name == "16 bits" else seen(content)
    # Decoders of JPEG differ by a few levels, and by some more in CMYK.
    tolerance = 24 if "CMYK" in name else (12 if name in TURNED else 8) if "JPEG" in name else 0
    np.testing.assert_allclose(decoded_in_its_size(content).astype(int), shown, atol=tolerance)


INTEL = b"II*\x00"
BLOCKS = (b"", INTEL, INTEL + b"\xff" * 4, b"MM\x00*\x00\x00\x00\x08\xff\xff", INTEL + b"\x08\0\0\0\x01\0\x12\x01")


@pytest.mark.parametrize("block", BLOCKS)
def test_a_damaged_exif_block_leaves_a_picture_as_it_is(block):
    content = saved(COLOUR, "JPEG", exif=b"Exif\x00\x00" + block, quality=95)
    plain = saved(COLOUR, "JPEG", quality=95)
    np.testing.assert_array_equal(decoded_in_its_size(content), decoded_in_its_size(plain))


@pytest.mark.parametrize("content", [b"", b"BM", encoded(pixels(0))[:40]])
def test_what_is_no_image_is_left_to_the_decoder(content):
    assert image_fault(io.BytesIO(content)) is None


@pytest.mark.parametrize("kind", ["BMP", "GIF"])
def test_kinds_of_three_channels_are_refused_as_grey_and_say_so(kind):
    with pytest.raises(DatasetError, match="it cannot be read as a .* image with 1 channels: save it as PNG"):
        decode_contents([SOUND[kind]], names=["it"], image_size=(4, 4), channels=1)

"""Files that would silently look otherwise than people see them are refused by name, others are left alone."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from cml_tf.datasets import DatasetError
from cml_tf.datasets.image_faults import image_fault
from cml_tf.datasets.image_files import decode_contents, decode_files
from tests.helpers.drawn_images import encoded, pixels


def saved(image, kind, **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


COLOUR = Image.fromarray(pixels(0))
ALPHA = np.full((10, 12), 255, np.uint8)
ALPHA[0, 0] = 254
SEE_THROUGH = Image.fromarray(np.dstack([pixels(0), ALPHA]))
FAULTY = {
    "transparent": saved(SEE_THROUGH, "PNG"),
    "transparent grey": saved(SEE_THROUGH.convert("LA"), "PNG"),
    "transparent entry of a palette": saved(COLOUR.quantize(8), "PNG", transparency=0),
    "BMP with a palette": saved(COLOUR.quantize(8), "BMP"),
}
SOUND = {
    "opaque": saved(COLOUR.convert("RGBA"), "PNG"),
    "palette": saved(COLOUR.quantize(8), "PNG"),
    "1 bit": saved(COLOUR.convert("1"), "PNG"),
    "JPEG": saved(COLOUR, "JPEG"),
    "BMP": saved(COLOUR, "BMP"),
    "GIF": saved(COLOUR, "GIF"),
}


@pytest.mark.parametrize("name", FAULTY)
def test_faulty_files_are_named(tmp_path, name):
    path = tmp_path / "a.png"
    path.write_bytes(FAULTY[name])
    with pytest.raises(DatasetError, match="a.png cannot be used: it (has transparent pixels|is a BMP)"):
        decode_files([str(path)], image_size=(4, 4), channels=3)
    with pytest.raises(DatasetError, match="it cannot be used"):
        decode_contents([FAULTY[name]], names=["it"], image_size=(4, 4), channels=3)


@pytest.mark.parametrize("name", SOUND)
def test_others_decode_to_what_is_seen(name):
    assert image_fault(io.BytesIO(SOUND[name])) is None
    shown = np.asarray(Image.open(io.BytesIO(SOUND[name])).convert("RGB"))
    decoded = decode_contents([SOUND[name]], names=["it"], image_size=(10, 12), channels=3)[0]
    # Decoders of JPEG differ by a few levels.
    np.testing.assert_allclose(decoded.astype(int), shown, atol=8 if name == "JPEG" else 0)


@pytest.mark.parametrize("content", [b"", b"BM", encoded(pixels(0))[:40]])
def test_what_is_no_image_is_left_to_the_decoder(content):
    assert image_fault(io.BytesIO(content)) is None


@pytest.mark.parametrize("kind", ["BMP", "GIF"])
def test_kinds_of_three_channels_are_refused_as_grey_and_say_so(kind):
    with pytest.raises(DatasetError, match="it cannot be read as a .* image with 1 channels; save it as PNG"):
        decode_contents([SOUND[kind]], names=["it"], image_size=(4, 4), channels=1)

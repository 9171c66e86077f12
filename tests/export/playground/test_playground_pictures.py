"""Picture files in the page are seen as training sees them; and the tool that takes the documentation's pictures."""

import shutil

import numpy as np
import pytest
from PIL import Image

from cml_tf.datasets.image_files import decode_contents, scale
from tests.export.playground.pages import pixels
from tests.helpers.drawn_images import encoded
from tests.helpers.pictures import FAULTY, SOUND, TURNED
from tests.helpers.programs import run_program

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        shutil.which("chromium") is None, reason="no chromium on PATH (Debian: apt-get install chromium)"
    ),
]
# Each file as the page makes a picture of it, or what it says against it.
_READ = """async ([files, shape]) => {
    const { readImage, toPicture } = await import("/playground/pixels.js");
    const read = async (bytes) => toPicture(await readImage(new File([new Uint8Array(bytes)], "it")), shape);
    return Promise.all(files.map((bytes) => read(bytes).catch((error) => error.message)));
}"""


def _noise(*shapes):
    return [encoded(np.random.default_rng(0).integers(0, 256, shape, np.uint8)) for shape in shapes]


def test_files_become_what_preprocessing_makes_of_them_and_transparent_ones_are_refused(look):
    """Grey and colour, enlarged and reduced, of every kind, turned as their EXIF orientation asks."""
    page = look("images")
    noise = dict(zip(("large", "small", "colour"), _noise((50, 33, 1), (7, 9, 1), (40, 20, 3)), strict=True))
    # The loaders' decoder makes no grey of CMYK and BMP.
    for channels, files in ((1, {**noise, **TURNED}), (3, {**noise, **TURNED, **SOUND})):
        made = page.evaluate(_READ, [[list(content) for content in files.values()], [8, 9, channels]])
        loaded = scale(decode_contents(list(files.values()), names=list(files), image_size=(8, 9), channels=channels))
        for name, picture, expected in zip(files, made, loaded, strict=True):
            assert not isinstance(picture, str), (name, picture)
            # Decoders of JPEG differ in how they enlarge colours; turned wrongly, noise would be off by half its range.
            levels = 6 if "JPEG" in name else 1
            np.testing.assert_allclose(np.array(picture, "f4"), expected, atol=(levels + 0.01) / 255, err_msg=name)
    transparent = [list(content) for name, content in FAULTY.items() if name.startswith("transparent")]
    said = page.evaluate(_READ, [transparent, [8, 9, 3]])
    assert said == ["it has transparent pixels. Save it on a background first."] * len(transparent)


def test_what_is_uploaded_is_sent(look):
    page, contents = look("images"), _noise((50, 33, 1), (20, 30, 1))
    for number, content in enumerate(contents, 1):
        upload = page.get_by_label(f"Upload images of Class {number}")
        upload.set_input_files([{"name": "noise.png", "mimeType": "image/png", "buffer": content}])
        page.get_by_role("list", name=f"Examples of Class {number}").locator("canvas").wait_for()
    expected = scale(decode_contents(contents, names=["a", "b"], image_size=(16, 16), channels=1))
    np.testing.assert_allclose(pixels(page.adapt()[0], "support_inputs")[0], expected, atol=1.01 / 255)


def test_a_picture_of_the_page_and_a_page_that_does_not_answer(playground, tmp_path):
    for address, output in (
        (playground.addresses["http"], tmp_path / "new"),
        ("http://127.0.0.1:9", tmp_path / "none"),
    ):
        flags = [f"--rest={address}", "--model=images", f"--output={output}"]
        done = run_program("tools.playground_pictures", *flags)
        if output.name == "none":
            assert done.code == 2 and not list(output.glob("*"))
            (line,) = [line for line in done.err.splitlines() if line.startswith("error:")]
            assert "did not answer as expected" in line
        else:
            assert done.code == 0, done.err
            with Image.open(output / "playground_classifier.png") as picture:
                assert picture.width == 1120 and picture.height > 800
                # A page that shows nothing has one colour.
                assert len(picture.convert("RGB").getcolors(2**24)) > 50

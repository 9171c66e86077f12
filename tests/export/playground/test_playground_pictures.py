"""Picture files in the page are seen as training sees them; and the tool that takes the documentation's pictures."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cml_tf.datasets.image_files import decode_contents, scale
from tests.export.playground.pages import adapt, open_page, pixels
from tests.helpers.drawn_images import encoded
from tests.helpers.pictures import FAULTY, SOUND, TURNED
from tests.helpers.programs import ROOT

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


def _read(page, files, shape):
    return page.evaluate(_READ, [[list(content) for content in files], list(shape)])


@pytest.mark.parametrize("channels", [1, 3])
def test_files_become_what_preprocessing_makes_of_them(playground, page, channels):
    """Grey and colour, enlarged and reduced, of every kind, turned as their EXIF orientation asks."""
    open_page(page, playground, "images")
    generator = np.random.default_rng(0)
    noise = [generator.integers(0, 256, shape, np.uint8) for shape in ((50, 33, 1), (7, 9, 1), (40, 20, 3))]
    # The loaders' decoder makes no grey of CMYK and BMP.
    kinds = {**TURNED, **(SOUND if channels == 3 else {})}
    files = {**{str(image.shape): encoded(image) for image in noise}, **kinds}
    made = _read(page, files.values(), (8, 9, channels))
    loaded = scale(decode_contents(list(files.values()), names=list(files), image_size=(8, 9), channels=channels))
    for name, picture, expected in zip(files, made, loaded, strict=True):
        assert not isinstance(picture, str), (name, picture)
        # Decoders of JPEG differ in how they enlarge colours; turned wrongly, noise would be off by half its range.
        levels = 6 if "JPEG" in name else 1
        np.testing.assert_allclose(np.array(picture, np.float32), expected, atol=(levels + 0.01) / 255, err_msg=name)


def test_what_is_uploaded_is_sent(playground, page):
    open_page(page, playground, "images")
    contents = [encoded(np.random.default_rng(seed).integers(0, 256, (50, 33, 1), np.uint8)) for seed in range(2)]
    for number, content in enumerate(contents, 1):
        upload = page.get_by_label(f"Upload images of Class {number}")
        upload.set_input_files([{"name": "noise.png", "mimeType": "image/png", "buffer": content}])
        page.get_by_role("list", name=f"Examples of Class {number}").locator("canvas").wait_for()
    expected = scale(decode_contents(contents, names=["a", "b"], image_size=(16, 16), channels=1))
    np.testing.assert_allclose(pixels(adapt(page)[0], "support_inputs")[0], expected, atol=1.01 / 255)


def test_transparent_files_are_refused(playground, page):
    open_page(page, playground, "images")
    files = [content for name, content in FAULTY.items() if name.startswith("transparent")]
    assert _read(page, files, (8, 9, 3)) == ["it has transparent pixels. Save it on a background first."] * len(files)


def _run(model: str, port: int, output: Path) -> subprocess.CompletedProcess:
    flags = [f"--rest=http://127.0.0.1:{port}", f"--model={model}", f"--output={output}"]
    command = [sys.executable, "-m", "tools.playground_pictures", *flags]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


def test_a_picture_of_the_page(playground, tmp_path):
    result = _run("images", playground.rest_port, tmp_path / "new")
    assert result.returncode == 0, result.stderr
    (path,) = (tmp_path / "new").iterdir()
    assert path.name == "playground_classifier.png"
    with Image.open(path) as picture:
        assert picture.width == 1120 and picture.height > 800
        # A page that shows nothing has one colour.
        assert len(picture.convert("RGB").getcolors(2**24)) > 50


def test_a_page_that_does_not_answer_is_one_line(tmp_path):
    result = _run("images", 9, tmp_path)
    assert result.returncode == 2 and not list(tmp_path.iterdir())
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("error:")]
    assert "did not answer as expected" in line

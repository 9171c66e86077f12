"""The look and the files of all figures."""

from __future__ import annotations

import matplotlib
import numpy as np
import pytest
from PIL import Image

from cml_tf.studies.pictures import style
from cml_tf.studies.pictures.style import DOTS_PER_INCH, colours, house_style, new_figure, png_bytes, write_png


def _figure():
    with house_style():
        figure = new_figure(3.0, 2.0)
        figure.add_subplot().plot([0, 1], [1, 0])
    return figure


def test_the_file_is_a_png_of_the_stated_size_and_a_failed_write_leaves_it(tmp_path, monkeypatch):
    path = tmp_path / "figure.png"
    write_png(_figure(), path)
    with Image.open(path) as image:
        assert (image.format, image.size) == ("PNG", (3 * DOTS_PER_INCH, 2 * DOTS_PER_INCH))
        assert np.asarray(image.convert("L")).std() > 5
    path.write_bytes(b"old")
    monkeypatch.setattr("os.replace", lambda *paths: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        write_png(_figure(), path)
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]


def test_the_same_figure_gives_the_same_bytes_whatever_the_users_settings():
    expected = png_bytes(_figure())
    with matplotlib.rc_context({"font.family": ["DejaVu Serif"], "axes.grid": False, "font.size": 20.0}):
        assert png_bytes(_figure()) == expected
        assert matplotlib.rcParams["font.size"] == 20.0


def test_colours_go_by_name_in_order_of_appearance():
    assert colours(["a", "b", "a"]) == {"a": style.VERMILLION, "b": style.BLUE}
    assert len(set(colours("abcde").values())) == 5

"""Archives that anybody may download: from a server on loopback, on a miniature."""

import dataclasses

import pytest

from cml_tf import datasets
from cml_tf.datasets import DatasetError
from cml_tf.datasets.benchmarks.catalogue import BENCHMARKS, instructions
from cml_tf.datasets.storage import downloads as downloads_module
from cml_tf.datasets.storage.cache import cache_directory

NAME = "GTSRB_Final_Training_Images.zip"


@pytest.fixture
def published(miniature, server, monkeypatch):
    """A folder with the miniature of GTSRB, which the server has too."""
    folder = miniature("gtsrb")
    server.files[NAME] = (folder / NAME).read_bytes()
    benchmark = BENCHMARKS["gtsrb"]
    # An address that does not end in the file's name, as that of CUB does not.
    source = dataclasses.replace(benchmark.source, url=f"{server.url}/files/{NAME}?download=1")
    monkeypatch.setitem(BENCHMARKS, "gtsrb", dataclasses.replace(benchmark, source=source))
    return folder


def downloads():
    return [path.name for path in (cache_directory() / "downloads").iterdir() if path.suffix != ".lock"]


def test_without_a_root_the_archive_is_downloaded_once(server, published):
    direct = datasets.load("gtsrb")
    assert direct.pools["test"].fingerprint == datasets.load("gtsrb").pools["test"].fingerprint
    # Another size is made of the archive that is there now.
    small = datasets.load("gtsrb", image_size=(8, 8))
    by_hand = datasets.load("gtsrb", str(published), image_size=(8, 8))
    assert small.pools["test"].fingerprint == by_hand.pools["test"].fingerprint
    assert server.asked == [NAME] and downloads() == [NAME]
    assert not list(cache_directory().glob(".download-*"))


def test_what_is_not_the_published_archive_is_not_kept(server, published):
    server.files[NAME] += b"\0"
    with pytest.raises(DatasetError, match="gtsrb needs .* dataset.root. .* the published md5 .* received another"):
        datasets.load("gtsrb")
    assert downloads() == [] and not list(cache_directory().glob(".download-*"))
    server.files.clear()
    with pytest.raises(DatasetError, match="put it into a folder .* cannot be downloaded; .*404"):
        datasets.load("gtsrb")


def test_a_second_one_waits_and_takes_what_the_first_downloaded(
    server, published, monkeypatch, both_at_the_lock, twice
):
    arrived, (wait, _) = downloads_module._arrived, both_at_the_lock(downloads_module)

    def slow(*arguments):
        wait()
        return arrived(*arguments)

    monkeypatch.setattr(downloads_module, "_arrived", slow)
    source, path = BENCHMARKS["gtsrb"].source, cache_directory() / "downloads" / NAME
    assert twice(lambda: downloads_module.download(source.url, source.checksum, path)) == [path] * 2
    assert server.asked == [NAME]


def test_the_instructions_offer_the_download_where_there_is_one():
    assert ":\n  python -m cml_tf.datasets.prepare cub\nIf the download fails" in instructions("cub")
    assert "This command downloads" not in instructions("mini_imagenet") + instructions("tiered_imagenet")

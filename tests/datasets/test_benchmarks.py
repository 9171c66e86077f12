"""The image benchmarks, on miniatures of their published files: same layout, fewer and smaller pictures."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from cml_tf.datasets import SPLITS, DatasetError, load_dataset
from cml_tf.datasets.benchmarks import BENCHMARKS, Archive
from cml_tf.datasets.class_splits import class_splits
from cml_tf.datasets.preprocessing import decode_and_resize, resize
from tests.helpers import benchmark_files
from tests.helpers.benchmark_files import IMAGES, classes_of, expect_counts, picture, write_benchmark

SMALL_ONES = ("cifar_fs", "fc100", "vgg_flower", "gtsrb", "svhn")
# The number of classes of each split as the papers state them.
CLASSES = {
    "mini_imagenet": (64, 16, 20),
    "tiered_imagenet": (351, 97, 160),
    "cifar_fs": (64, 16, 20),
    "fc100": (60, 20, 20),
    "vgg_flower": (71, 15, 16),
    "cub": (100, 50, 50),
    "cars": (98, 49, 49),
    "aircraft": (70, 15, 15),
    "gtsrb": (0, 0, 43),
    "svhn": (0, 0, 10),
}
TOTALS = {
    "mini_imagenet": 60000,
    "tiered_imagenet": 779165,
    "cifar_fs": 60000,
    "fc100": 60000,
    "vgg_flower": 8189,
    "cub": 11788,
    "cars": 16185,
    "aircraft": 10000,
    "gtsrb": 39209,
    "svhn": 26032,
}


@pytest.mark.parametrize("name", BENCHMARKS)
def test_split_files_hold_the_published_numbers_and_their_source(name):
    split = class_splits(name)
    assert tuple(len(split.classes.get(part, ())) for part in SPLITS) == CLASSES[name]
    assert len(set(classes_of(name))) == sum(CLASSES[name])
    assert split.published and len(split.source) > 40
    assert sum(split.images.values()) == TOTALS[name]
    assert list(split.classes.values()) == [tuple(sorted(names)) for names in split.classes.values()]


def test_fc100_keeps_superclasses_together_and_birds_follow_their_rule():
    assert {"boy", "girl", "man", "woman", "baby"} <= set(class_splits("fc100").classes["test"])
    birds = classes_of("cub")
    for part, chosen in (("train", range(0, 200, 2)), ("validation", range(1, 200, 4)), ("test", range(3, 200, 4))):
        assert class_splits("cub").classes[part] == tuple(birds[number] for number in chosen)


@pytest.fixture
def miniature(tmp_path, monkeypatch, empty_cache):
    def write(name: str) -> Path:
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        write_benchmark(name, folder, monkeypatch)
        return folder

    return write


def image(dataset, class_name: str, number: int) -> np.ndarray:
    for pool in dataset.pools.values():
        if class_name in pool.class_names:
            return pool.images[IMAGES * pool.class_names.index(class_name) + number]
    raise AssertionError(class_name)


def expected(content: np.ndarray | bytes, size: tuple[int, int]) -> np.ndarray:
    if isinstance(content, bytes):
        return decode_and_resize(tf.constant(content), size, 3).numpy()
    return resize(tf.constant(content), size).numpy()


def slow(*names: str) -> list:
    return [pytest.param(name, marks=pytest.mark.slow) for name in names]


@pytest.mark.parametrize("name", ["aircraft", "gtsrb", "mini_imagenet", *slow("cub", "tiered_imagenet")])
def test_published_archives(name, miniature):
    dataset = load_dataset(name, str(miniature(name)))
    assert dataset.name == name and dataset.input_shape == (*((32, 32) if name == "gtsrb" else (84, 84)), 3)
    assert {split: len(dataset.class_names(split)) for split in dataset.splits} == {
        split: count for split, count in zip(SPLITS, CLASSES[name], strict=True) if count
    }
    assert all((pool.counts == IMAGES).all() for pool in dataset.pools.values())
    check = {
        "mini_imagenet": ("n01532829", lambda c: picture(0, 1, (84, 84))),
        "aircraft": ("A340-300", lambda c: benchmark_files.opened(benchmark_files.jpeg(c, 1))[1:8, 2:9]),
        "gtsrb": ("14.Stop", lambda c: picture(14, 1)),
        "cub": ("004.Groove_billed_Ani", lambda c: benchmark_files.jpeg(c, 1)),
        "tiered_imagenet": ("n01530575", lambda c: benchmark_files.jpeg(c, 1)),
    }
    class_name, content = check[name]
    got = image(dataset, class_name, 1)
    wanted = expected(content(classes_of(name).index(class_name)), dataset.input_shape[:2])
    np.testing.assert_array_equal(got, wanted)


def test_cifar_comes_through_the_builder_of_tensorflow_datasets(miniature):
    root = str(miniature("cifar_fs"))
    fs = load_dataset("cifar_fs", root)
    number = classes_of("cifar_fs").index("whale")
    assert "whale" in fs.class_names("test")
    # In the order of the builder, which is one of its own.
    got = {image(fs, "whale", i).tobytes() for i in range(IMAGES)}
    assert got == {picture(number, i, (32, 32)).tobytes() for i in range(IMAGES)}
    miniature("fc100")
    fc = load_dataset("fc100", root)
    assert {image(fc, "whale", i).tobytes() for i in range(IMAGES)} == got
    # TensorFlow Datasets checks what is in the folder by the checksums that it knows.
    assert fc.episodes("train", ways=5, shots=1, queries=2, seed=0).batch(0, 1).query.inputs.shape == (1, 10, 32, 32, 3)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["vgg_flower", "cars", "svhn"])
def test_other_sets_of_tensorflow_datasets(name, miniature):
    dataset = load_dataset(name, str(miniature(name)))
    assert all((pool.counts == IMAGES).all() for pool in dataset.pools.values())
    class_name, source = {
        "vgg_flower": ("005.english marigold", lambda i: benchmark_files.jpeg(4, i)),
        "cars": ("Acura TL Sedan 2012", lambda i: benchmark_files.opened(benchmark_files.jpeg(2, i))[2:8, 3:9]),
        "svhn": ("0", lambda i: picture(0, i, (32, 32))),
    }[name]
    got = {image(dataset, class_name, i).tobytes() for i in range(IMAGES)}
    assert got == {expected(source(i), dataset.input_shape[:2]).tobytes() for i in range(IMAGES)}


def test_prepared_images_need_neither_files_nor_decoding(miniature, monkeypatch):
    folder = miniature("gtsrb")
    first = load_dataset("gtsrb", str(folder))
    shutil.rmtree(folder)

    def decode(*_, **__):
        raise AssertionError("decoded again")

    monkeypatch.setattr("cml_tf.datasets.image_store.decode_contents", decode)
    again = load_dataset("gtsrb")
    assert again.pools["test"].fingerprint == first.pools["test"].fingerprint
    assert isinstance(again.pools["test"].images, np.memmap)
    with pytest.raises(DatasetError, match="needs GTSRB_Final_Training_Images.zip .* from https"):
        load_dataset("gtsrb", image_size=(16, 16))


def unpack(name: str, folder: Path) -> None:
    files = {"mini_imagenet": benchmark_files.mini_imagenet, "gtsrb": benchmark_files.gtsrb}[name]()
    for place, content in files.items():
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        (folder / place).write_bytes(content)


@pytest.mark.parametrize("name", ["gtsrb", *slow("mini_imagenet")])
def test_unpacked_files_are_the_same_and_changes_are_noticed(name, miniature, tmp_path):
    packed = load_dataset(name, str(miniature(name)))
    folder = tmp_path / "unpacked"
    folder.mkdir()
    unpack(name, folder)
    unpacked = load_dataset(name, str(folder))
    for split in packed.splits:
        assert unpacked.pools[split].fingerprint == packed.pools[split].fingerprint
    next(path for path in sorted(folder.rglob("*")) if path.suffix in (".pkl", ".ppm")).unlink()
    with pytest.raises(DatasetError, match="must have"):
        load_dataset(name, str(folder))


def test_mini_imagenet_from_image_files(miniature, tmp_path, monkeypatch):
    """In folders of classes, or with the class before the number in the file's name, as two common copies have them."""
    expect_counts("mini_imagenet", {"test": 20}, monkeypatch)
    for c, name in enumerate(classes_of("mini_imagenet")):
        place = f"images/{name}{c:08d}.jpg" if c % 2 else f"{name}/{c}.JPEG"
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / place).write_bytes(benchmark_files.jpeg(c, 0))
    dataset = load_dataset("mini_imagenet", str(tmp_path))
    assert [len(pool.images) for pool in dataset.pools.values()] == [64, 16, 20]


def test_wrong_counts_are_refused(miniature, monkeypatch, tmp_path):
    folder = miniature("gtsrb")
    expect_counts("gtsrb", {"test": 39209}, monkeypatch)
    with pytest.raises(DatasetError, match="gtsrb must have 39209 images in split test, found 129; the files are not"):
        load_dataset("gtsrb", str(folder))
    expect_counts("gtsrb", {"": 130}, monkeypatch)
    with pytest.raises(DatasetError, match="130 images in all splits together, found 129"):
        load_dataset("gtsrb", str(folder))
    (tmp_path / "one" / "00000").mkdir(parents=True)
    (tmp_path / "one" / "00000" / "00000_00000.ppm").write_bytes(b"")
    with pytest.raises(DatasetError, match="images of 43 classes, 42 have none, for example 01.Speed"):
        load_dataset("gtsrb", str(tmp_path / "one"))


def test_files_by_another_checksum_are_refused(miniature):
    path = miniature("gtsrb") / "GTSRB_Final_Training_Images.zip"
    path.write_bytes(path.read_bytes() + b"\\0")
    with pytest.raises(DatasetError, match="must have the published MD5 [0-9a-f]{32}, received [0-9a-f]{32}; download"):
        load_dataset("gtsrb", str(path.parent))


def test_damaged_files_of_tensorflow_datasets_are_refused(miniature, empty_cache):
    folder = miniature("cifar_fs")
    path = folder / "cifar-100-binary.tar.gz"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DatasetError, match="cannot be made from the files .* download cifar-100-binary.tar.gz again"):
        load_dataset("cifar_fs", str(folder))
    path.unlink()
    with pytest.raises(
        DatasetError, match="missing: cifar-100-binary.tar.gz. Download them from https://www.cs.toronto"
    ):
        load_dataset("cifar_fs", str(folder))


class Unprepared:
    """A builder of TensorFlow Datasets that nobody has prepared, and whose download would retry for minutes."""

    def is_prepared(self):
        return False

    def download_and_prepare(self):
        raise AssertionError("downloaded")


def test_offline_the_download_is_not_even_tried(empty_cache, monkeypatch):
    tfds = pytest.importorskip("tensorflow_datasets")
    asked = []

    def offline(host):
        asked.append(host)
        raise OSError("no route to host")

    monkeypatch.setattr(tfds, "builder", lambda name: Unprepared())
    monkeypatch.setattr("cml_tf.datasets.published_sets.check_online", offline)
    with pytest.raises(DatasetError, match=r"svhn_cropped:3.1.0 cannot be had .* go online.*no route to host"):
        load_dataset("svhn")
    assert asked == ["ufldl.stanford.edu"]


def test_offline_without_root_the_error_says_what_to_do(empty_cache, monkeypatch):
    tfds = pytest.importorskip("tensorflow_datasets")

    def offline(name):
        raise ConnectionError("no route\nto host")

    monkeypatch.setattr(tfds, "builder", offline)
    with pytest.raises(DatasetError, match="go online, or set dataset.root to .* 102flowers.tgz.*no route to"):
        load_dataset("vgg_flower")


@pytest.mark.parametrize(
    "name", [name for name, benchmark in BENCHMARKS.items() if isinstance(benchmark.source, Archive)]
)
def test_nothing_is_downloaded_that_must_be_downloaded_by_hand(name, empty_cache):
    with pytest.raises(DatasetError, match=f"{name} needs .* put it into a folder and give that as dataset.root"):
        load_dataset(name)


@pytest.mark.parametrize(
    ("root", "options", "message"),
    [
        ("nowhere", {}, "the cub root must be a folder"),
        ("", {"image_size": (0, 3)}, r"image_size must be \(height, width\), both positive"),
        ("", {"image_size": 3}, "image_size must be"),
        ("", {"channels": 1}, "takes the options image_size; received channels"),
        (".", {}, "must hold the files of the benchmark, it is empty"),
    ],
)
def test_bad_requests(tmp_path, root, options, message, empty_cache):
    with pytest.raises(DatasetError, match=message):
        load_dataset("cub", str(tmp_path / root) if root else "", **options)


def test_training_on_a_set_to_test_on_is_refused(miniature):
    from cml_tf.experiments.experiment import build_experiment
    from cml_tf.experiments.presets import benchmark

    config = benchmark("gtsrb", 5, 1, "maml", "smoke")
    config.dataset.root = str(miniature("gtsrb"))
    with pytest.raises(DatasetError, match="'gtsrb' has the splits test, received 'train'"):
        build_experiment(config)


def aircraft_without(folder: Path, monkeypatch, **changes: bytes | None) -> None:
    files = benchmark_files.aircraft()
    for part, content in changes.items():
        place = f"fgvc-aircraft-2013b/data/{part}.txt"
        files.pop(place)
        if content is not None:
            files[place] = content
    path = folder / BENCHMARKS["aircraft"].source.name
    path.write_bytes(benchmark_files.tar_bytes(files))
    benchmark_files.expect_checksum("aircraft", path, monkeypatch)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images_box": None}, "missing: images_box"),
        ({"images_variant_test": None}, "missing: images_variant_test"),
        ({"images_box": b"0000000 1 2\n"}, "a number and four edges a line, found '0000000 1 2'"),
        ({"images_box": b"0000000 1 2 3 4\n"}, "has no line for 0000001"),
    ],
)
def test_damaged_tables_of_the_aircraft_are_refused(tmp_path, monkeypatch, empty_cache, changes, message):
    aircraft_without(tmp_path, monkeypatch, **changes)
    with pytest.raises(DatasetError, match=message):
        load_dataset("aircraft", str(tmp_path))


def test_every_benchmark_has_a_size_of_the_literature():
    sizes = {name: benchmark.image_size for name, benchmark in BENCHMARKS.items()}
    assert sizes == {name: (32, 32) if name in SMALL_ONES else (84, 84) for name in BENCHMARKS}
    for benchmark in BENCHMARKS.values():
        if isinstance(benchmark.source, Archive):
            kind, checksum = benchmark.source.checksum
            assert len(checksum) == {"md5": 32, "sha256": 64}[kind]


def test_the_document_says_what_the_split_files_say():
    rows = {}
    for line in (Path(__file__).resolve().parents[2] / "docs/DATASETS.md").read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        if line.startswith("| `"):
            rows[cells[0].strip("`")] = cells[1:]
    assert list(rows) == list(BENCHMARKS)
    for name, (classes, images, size, *_) in rows.items():
        split = class_splits(name)
        counts = [len(names) for names in split.classes.values()]
        assert classes.removeprefix("test only: ") == " / ".join(map(str, counts))
        assert images.removesuffix(" in all") == " / ".join(f"{count:,}" for count in split.images.values())
        assert size == "{}x{}".format(*BENCHMARKS[name].image_size)

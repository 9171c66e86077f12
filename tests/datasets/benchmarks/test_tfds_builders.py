"""The builders of TensorFlow Datasets give what training reads, on miniatures of the published files."""

from __future__ import annotations

import ast
from pathlib import Path

import numpy as np
import pytest

from cml_tf.datasets import DatasetError, load_dataset
from cml_tf.datasets.benchmarks.catalogue import BENCHMARKS, Archive, download_by_hand, instructions
from cml_tf.datasets.benchmarks.class_splits import class_splits
from cml_tf.datasets.image_files import decode, resize
from tests.helpers import benchmark_files
from tests.helpers.benchmark_files import classes_of, expect_counts, write_benchmark
from tests.helpers.documents import ROOT, blocks

tfds = pytest.importorskip("tensorflow_datasets")

from cml_tf.datasets.benchmarks import tfds_builders  # noqa: E402  It imports TensorFlow Datasets.

BUILDERS = {
    "mini_imagenet": tfds_builders.FewShotMiniImagenet,
    "tiered_imagenet": tfds_builders.FewShotTieredImagenet,
    "aircraft": tfds_builders.FewShotAircraft,
    "gtsrb": tfds_builders.FewShotGtsrb,
}


def prepared(name: str, folder: Path, data_dir: Path):
    builder = tfds.builder(f"few_shot_{name}", data_dir=str(data_dir))
    settings = tfds.download.DownloadConfig(manual_dir=str(folder), try_download_gcs=False)
    builder.download_and_prepare(download_config=settings)
    return builder


def in_order(builder, split: str) -> list[dict]:
    examples = builder.as_dataset(split=split, decoders={"image": tfds.decode.SkipDecoding()}).as_numpy_iterator()
    return sorted(examples, key=lambda example: (example["label"], example["name"]))


def assert_agreement(builder, dataset) -> None:
    """Images and labels are those of the arrays, in their order: of classes, and in a class of names."""
    assert tuple(builder.info.splits) == dataset.splits
    names = builder.info.features["label"].names
    assert names == [name for split in dataset.splits for name in dataset.class_names(split)]
    for split, pool in dataset.pools.items():
        examples = in_order(builder, split)
        labels = [names[example["label"]] for example in examples]
        assert labels == list(np.repeat(pool.class_names, pool.counts))
        images = [resize(decode(example["image"], 3), dataset.input_shape[:2]) for example in examples]
        np.testing.assert_array_equal(images, pool.images)
        assert builder.info.splits[split].num_examples == len(pool.images)


def slow(*names: str) -> list:
    return [pytest.param(name, marks=pytest.mark.slow) for name in names]


@pytest.mark.parametrize("name", ["gtsrb", *slow("aircraft", "mini_imagenet", "tiered_imagenet")])
def test_images_and_labels_are_those_of_the_arrays(name, tmp_path, monkeypatch, empty_cache):
    write_benchmark(name, tmp_path, monkeypatch)
    assert_agreement(prepared(name, tmp_path, tmp_path / "tfds"), load_dataset(name, str(tmp_path)))


def test_encoded_pictures_stay_as_they_are(tmp_path, monkeypatch, empty_cache):
    """From a folder of JPEG files; all three splits."""
    expect_counts("mini_imagenet", {"train": 64, "validation": 16, "test": 20}, monkeypatch)
    for c, name in enumerate(classes_of("mini_imagenet")):
        (tmp_path / "files" / name).mkdir(parents=True)
        (tmp_path / "files" / name / f"{c}.JPEG").write_bytes(benchmark_files.jpeg(c, 0))
    builder = prepared("mini_imagenet", tmp_path / "files", tmp_path / "tfds")
    assert_agreement(builder, load_dataset("mini_imagenet", str(tmp_path / "files")))
    number = classes_of("mini_imagenet").index(class_splits("mini_imagenet").classes["test"][0])
    assert in_order(builder, "test")[0]["image"] == benchmark_files.jpeg(number, 0)


def test_the_example_of_the_document(tmp_path, monkeypatch, capsys):
    (example,) = blocks((ROOT / "docs/DATASETS.md").read_text(encoding="utf-8"), "python")
    (tmp_path / "downloads").mkdir()
    write_benchmark("gtsrb", tmp_path / "downloads", monkeypatch)
    monkeypatch.chdir(tmp_path)
    exec(compile(example.text, "docs/DATASETS.md", "exec"), {})
    lines = capsys.readouterr().out.splitlines()[-3:]
    names = class_splits("gtsrb").classes["test"]
    assert all(line.startswith("(10, 12, 3) ") for line in lines)
    assert {line.split(" ", 3)[3] for line in lines} <= set(names)


def damage_checksum(folder: Path, monkeypatch) -> None:
    path = folder / "GTSRB_Final_Training_Images.zip"
    path.write_bytes(path.read_bytes()[:-100])


def damage_name(folder: Path, monkeypatch) -> None:
    (folder / "GTSRB_Final_Training_Images.zip").rename(folder / "GTSRB_Final_Test_Images.zip")


def damage_counts(folder: Path, monkeypatch) -> None:
    expect_counts("gtsrb", {"test": 39209}, monkeypatch)


def damage_picture(folder: Path, monkeypatch) -> None:
    files = benchmark_files.gtsrb()
    files["GTSRB/Final_Training/Images/00007/00000_00001.ppm"] = b"P6 nothing"
    path = folder / "GTSRB_Final_Training_Images.zip"
    path.write_bytes(benchmark_files.zip_bytes(files))
    benchmark_files.expect_checksum("gtsrb", path, monkeypatch)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (damage_checksum, "must have the published MD5 .* received .*; download it again"),
        (
            damage_name,
            "nothing of that, but 'GTSRB_Final_Test_Images.zip': if that is the archive, rename it .* manual_dir, .*, "
            "must hold GTSRB_Final_Training_Images.zip .* from https",
        ),
        (damage_counts, "must have 39209 images in split test, found 129"),
        (damage_picture, "00007/00000_00001.ppm cannot be read as an image"),
    ],
)
def test_wrong_files_are_refused_and_nothing_is_prepared(tmp_path, monkeypatch, damage, message):
    (tmp_path / "files").mkdir()
    write_benchmark("gtsrb", tmp_path / "files", monkeypatch)
    damage(tmp_path / "files", monkeypatch)
    with pytest.raises(DatasetError, match=message):
        prepared("gtsrb", tmp_path / "files", tmp_path / "tfds")
    assert not list((tmp_path / "tfds").rglob("*.tfrecord*"))


def test_a_damaged_jpeg_is_refused(tmp_path, monkeypatch):
    expect_counts("mini_imagenet", {}, monkeypatch)
    for c, name in enumerate(classes_of("mini_imagenet")):
        (tmp_path / "files").mkdir(exist_ok=True)
        content = benchmark_files.jpeg(c, 0)
        (tmp_path / "files" / f"{name}.JPEG").write_bytes(content if c else content[:40])
    with pytest.raises(DatasetError, match=r"mini_imagenet: n\d+/n\d+.JPEG cannot be read as an image; replace it"):
        prepared("mini_imagenet", tmp_path / "files", tmp_path / "tfds")


def test_an_empty_folder_is_answered_with_the_instructions(tmp_path):
    (tmp_path / "files").mkdir()
    with pytest.raises(AssertionError, match="GTSRB_Final_Training_Images.zip"):
        prepared("gtsrb", tmp_path / "files", tmp_path / "tfds")


@pytest.mark.parametrize("name", BUILDERS)
def test_a_builder_says_what_it_is(name, tmp_path):
    builder = tfds.builder(f"few_shot_{name}", data_dir=str(tmp_path))
    assert isinstance(builder, BUILDERS[name])
    text = builder.MANUAL_DOWNLOAD_INSTRUCTIONS
    assert download_by_hand(name) in instructions(name) and text.startswith(download_by_hand(name))
    assert "manual_dir" in text
    assert class_splits(name).source in builder.info.description
    citation = builder.info.citation
    assert citation.startswith("@") and citation.count("{") == citation.count("}")
    assert builder.info.homepage.startswith("https://")
    assert builder.info.features["label"].num_classes == len(classes_of(name))


def test_only_what_is_downloaded_by_hand_can_say_so():
    with pytest.raises(ValueError, match="svhn is downloaded by TensorFlow Datasets"):
        download_by_hand("svhn")


def test_every_benchmark_is_known_to_tensorflow_datasets():
    """CUB is there as caltech_birds2011, what is no archive is there too."""
    by_hand = {name for name, benchmark in BENCHMARKS.items() if isinstance(benchmark.source, Archive)}
    assert by_hand - {"cub"} == set(BUILDERS)
    assert {"caltech_birds2011", *(f"few_shot_{name}" for name in BUILDERS)} <= set(tfds.list_builders())


def test_training_does_not_import_tensorflow_datasets_before_it_needs_it():
    """It takes seconds."""
    for path in (ROOT / "cml_tf").rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        assert path.name == "tfds_builders.py" or not imported_at_once(tree), path
        everywhere = {name for node in ast.walk(tree) for name in imported(node)}
        assert not any("tfds_builders" in name for name in everywhere), path


def imported_at_once(tree: ast.Module) -> set[str]:
    return {name for node in tree.body for name in imported(node) if name.startswith("tensorflow_datasets")}


def imported(node: ast.AST) -> set[str]:
    if isinstance(node, ast.Import):
        return {alias.name for alias in node.names}
    if isinstance(node, ast.ImportFrom):
        return {f"{node.module}.{alias.name}" for alias in node.names}
    return set()

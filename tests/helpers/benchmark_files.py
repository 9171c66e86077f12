"""Miniatures of the image benchmarks' published files: the real layouts and class names, few and small pictures."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import pickle
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import scipy.io
from PIL import Image

from cml_tf.datasets.benchmarks import catalogue as benchmarks
from cml_tf.datasets.benchmarks.class_splits import class_splits
from tests.helpers.drawn_images import encoded, pixels

IMAGES = 3


def classes_of(name: str) -> list[str]:
    """All classes of a benchmark, sorted."""
    return sorted(class_name for names in class_splits(name).classes.values() for class_name in names)


def picture(class_number: int, number: int, size: tuple[int, int] = (10, 12)) -> np.ndarray:
    """Uint8 `[*size, 3]`, another one for each class and number."""
    return pixels(1000 * class_number + number, size)


def jpeg(class_number: int, number: int) -> bytes:
    return encoded(picture(class_number, number), "JPEG")


def tar_bytes(files: Mapping[str, bytes], mode: str = "w:gz") -> bytes:
    """A tar file; files come in the order of the mapping."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def zip_bytes(files: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def mini_imagenet() -> dict[str, bytes]:
    files = {}
    for split, part in (("train", "train"), ("validation", "val"), ("test", "test")):
        names = class_splits("mini_imagenet").classes[split]
        images = np.stack([picture(c, i, (84, 84)) for c in range(len(names)) for i in range(IMAGES)])
        rows = {name: list(range(IMAGES * c, IMAGES * (c + 1))) for c, name in enumerate(names)}
        files[f"mini-imagenet-cache-{part}.pkl"] = pickle.dumps({"image_data": images, "class_dict": rows}, 2)
    return files


def tiered_imagenet() -> dict[str, bytes]:
    """The classes are tar files of their own within the archive."""
    return {
        f"{name}.tar": tar_bytes({f"{name}_{i}.JPEG": jpeg(c, i) for i in range(IMAGES)}, "w")
        for c, name in enumerate(classes_of("tiered_imagenet"))
    }


def cub() -> dict[str, bytes]:
    files = {"CUB_200_2011/README": b"", "attributes.txt": b""}
    for c, name in enumerate(classes_of("cub")):
        files.update({f"CUB_200_2011/images/{name}/{name[4:]}_{i:04d}.jpg": jpeg(c, i) for i in range(IMAGES)})
    return files


def aircraft() -> dict[str, bytes]:
    base, variants, boxes, files = "fgvc-aircraft-2013b/data", {"trainval": [], "test": []}, [], {}
    for c, name in enumerate(classes_of("aircraft")):
        for i in range(IMAGES):
            number = f"{100 * c + i:07d}"
            files[f"{base}/images/{number}.jpg"] = jpeg(c, i)
            variants["test" if i == 0 else "trainval"].append(f"{number} {name}")
            boxes.append(f"{number} 3 2 9 8")
    files.update({f"{base}/images_variant_{part}.txt": "\n".join(lines).encode() for part, lines in variants.items()})
    return {**files, f"{base}/images_box.txt": "\n".join(boxes).encode()}


def gtsrb() -> dict[str, bytes]:
    files = {"GTSRB/Readme-Images.txt": b""}
    for c in range(43):
        folder = f"GTSRB/Final_Training/Images/{c:05d}"
        files[f"{folder}/GT-{c:05d}.csv"] = b"Filename;Width\n"
        files.update({f"{folder}/00000_{i:05d}.ppm": encoded(picture(c, i), "PPM") for i in range(IMAGES)})
    return files


ARCHIVES: dict[str, Callable[[], bytes]] = {
    "mini_imagenet": lambda: tar_bytes(mini_imagenet()),
    "tiered_imagenet": lambda: tar_bytes(tiered_imagenet(), "w"),
    "cub": lambda: tar_bytes(cub()),
    "aircraft": lambda: tar_bytes(aircraft()),
    "gtsrb": lambda: zip_bytes(gtsrb()),
}


def matlab(**arrays: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    scipy.io.savemat(buffer, arrays)
    return buffer.getvalue()


def cifar() -> dict[str, bytes]:
    """Two pictures of each class in the training file, the rest in the test file."""
    fine = classes_of("cifar_fs")
    records: dict[str, list[bytes]] = {"train": [], "test": []}
    for i in range(IMAGES):
        for c in range(len(fine)):
            planes = picture(c, i, (32, 32)).transpose(2, 0, 1).tobytes()
            records["train" if i < 2 else "test"].append(bytes([c // 5, c]) + planes)
    files = {f"cifar-100-binary/{part}.bin": b"".join(of_part) for part, of_part in records.items()}
    files["cifar-100-binary/fine_label_names.txt"] = "\n".join(fine).encode() + b"\n"
    files["cifar-100-binary/coarse_label_names.txt"] = "\n".join(f"coarse_{i:02d}" for i in range(20)).encode() + b"\n"
    return {"cifar-100-binary.tar.gz": tar_bytes(files)}


def flowers() -> dict[str, bytes]:
    count = 102 * IMAGES
    labels = np.arange(count) % 102 + 1
    images = {f"jpg/image_{i + 1:05d}.jpg": jpeg(int(labels[i]) - 1, i // 102) for i in range(count)}
    numbers = np.arange(1, count + 1).reshape(IMAGES, 102)
    return {
        "102flowers.tgz": tar_bytes(images),
        "imagelabels.mat": matlab(labels=labels[np.newaxis]),
        "setid.mat": matlab(trnid=numbers[:1], valid=numbers[1:2], tstid=numbers[2:].reshape(1, -1)),
    }


def cars() -> dict[str, bytes]:
    """The test part, which is not used, has a picture of its own of each class."""

    def part(folder: str, numbers: range) -> tuple[bytes, np.ndarray]:
        files, rows = {}, []
        for c in range(196):
            for i in numbers:
                file = f"{len(rows) + 1:05d}.jpg"
                files[f"{folder}/{file}"] = jpeg(c, i)
                rows.append((3, 2, 9, 8, c + 1, file))
        fields = [(field, object) for field in ("bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2", "class", "fname")]
        return tar_bytes(files), np.array(rows, fields)[np.newaxis]

    train, train_table = part("cars_train", range(IMAGES))
    test, test_table = part("cars_test", range(IMAGES, IMAGES + 1))
    return {
        "cars_train.tgz": train,
        "cars_test.tgz": test,
        "cars_test_annos_withlabels.mat": matlab(annotations=test_table),
        "car_devkit.tgz": tar_bytes({"devkit/cars_train_annos.mat": matlab(annotations=train_table)}),
    }


def digits() -> dict[str, bytes]:
    """As published, the digit 0 has the label 10."""
    files = {}
    for part, first in (("train", 100), ("test", 0), ("extra", 200)):
        images = np.stack([picture(c, first + i, (32, 32)) for i in range(IMAGES) for c in range(10)], axis=-1)
        labels = np.tile([10, *range(1, 10)], IMAGES)[:, np.newaxis]
        files[f"{part}_32x32.mat"] = matlab(X=images, y=labels.astype(np.uint8))
    return files


PUBLISHED: dict[str, Callable[[], dict[str, bytes]]] = {
    "cifar_fs": cifar,
    "fc100": cifar,
    "vgg_flower": flowers,
    "cars": cars,
    "svhn": digits,
}


def write_benchmark(name: str, folder: Path, patch) -> None:
    """Puts the miniature into a folder, and makes its counts and checksums the expected ones."""
    if name in ARCHIVES:
        path = folder / benchmarks.BENCHMARKS[name].source.name
        path.write_bytes(ARCHIVES[name]())
        expect_checksum(name, path, patch)
    else:
        write_published(name, folder, patch)
    expect_counts(name, {split: IMAGES * len(names) for split, names in class_splits(name).classes.items()}, patch)


def write_published(name: str, folder: Path, patch) -> None:
    """Puts the files of a set of TensorFlow Datasets into a folder; its builder then expects their checksums."""
    import tensorflow_datasets as tfds
    from tensorflow_datasets.core.download.checksums import UrlInfo

    builder = tfds.builder_cls(benchmarks.BENCHMARKS[name].source.builder.split(":")[0])
    known = {info.filename: url for url, info in builder.url_infos.items()}
    expected = {}
    for file, content in PUBLISHED[name]().items():
        (folder / file).write_bytes(content)
        expected[known[file]] = UrlInfo(len(content), hashlib.sha256(content).hexdigest(), file)
    patch.setattr(builder, "url_infos", expected)


def expect_checksum(name: str, path: Path, patch) -> None:
    benchmark = benchmarks.BENCHMARKS[name]
    source = dataclasses.replace(benchmark.source, checksum=("md5", hashlib.md5(path.read_bytes()).hexdigest()))
    patch.setitem(benchmarks.BENCHMARKS, name, dataclasses.replace(benchmark, source=source))


def expect_counts(name: str, counts: dict[str, int], patch) -> None:
    before = benchmarks.class_splits

    def replaced(asked: str):
        return dataclasses.replace(before(asked), images=counts) if asked == name else before(asked)

    patch.setattr(benchmarks, "class_splits", replaced)


def opened(content: bytes) -> np.ndarray:
    """The pixels of an image file."""
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))

"""Images by class, in memory or mapped from a file, and episodes of them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from mmap import mmap

import numpy as np
import tensorflow as tf

from cml_tf.datasets.base import SPLITS, DatasetError, FewShotDataset, check_integer, digest
from cml_tf.datasets.class_source import ClassSource
from cml_tf.datasets.image_files import scale

# Pools up to this size are copied into memory as a whole; of larger ones an episode's images are read from the file.
RESIDENT_BYTES = 1 << 30
_HASHED_BYTES = 1 << 24


@dataclass(frozen=True, eq=False)
class ClassPool:
    """The images of one split, class after class.

    Example:
      >>> pool = ClassPool(("cat", "dog"), np.array([3, 2]), np.zeros((5, 16, 16, 1), "uint8"))
      >>> len(pool.fingerprint)
      64

    Attributes:
      class_names: names, all different.
      counts: how many images each class has, int64 `[classes]`, each at least one.
      images: uint8 `[sum(counts), height, width, channels]`; the images of class 0 come first, then those of class 1.
        May be mapped from a file.
      known_fingerprint: what `fingerprint` would find out by reading all images, where that was written down before.
    """

    class_names: tuple[str, ...]
    counts: np.ndarray
    images: np.ndarray
    known_fingerprint: str = ""

    def __post_init__(self) -> None:
        if self.images.dtype != np.uint8 or self.images.ndim != 4:
            raise DatasetError(
                f"images must be uint8 [images, height, width, channels], received {self.images.dtype} "
                f"{list(self.images.shape)}."
            )
        if len(set(self.class_names)) != len(self.class_names):
            raise DatasetError("class_names must not contain duplicates: rename one of the classes.")
        counts = np.asarray(self.counts)
        if counts.shape != (len(self.class_names),) or counts.sum() != len(self.images) or (counts < 1).any():
            raise DatasetError(
                f"counts must give each of {len(self.class_names)} classes at least one image and {len(self.images)} "
                f"in all, received shape {list(counts.shape)} with sum {counts.sum()}."
            )

    @cached_property
    def tensor(self) -> tf.Tensor:
        """The images in host memory, made once: every pipeline over this pool captures this one tensor by reference."""
        with tf.device("CPU:0"):
            return tf.constant(self.images)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over names, counts, shape and pixels."""
        return self.known_fingerprint or pool_fingerprint(self.class_names, self.counts, self.images)

    def gatherer(self) -> Callable[[tf.Tensor], tf.Tensor]:
        """What gives the images at some positions: int64 `[examples]` -> uint8 `[examples, height, width, channels]`.

        It works eagerly and in a tf.data pipeline of this process. Pools of more than `RESIDENT_BYTES` are read where
        they are, so that their size is bounded by the disk, not by the memory.
        """
        if self.images.nbytes <= RESIDENT_BYTES:
            resident = self.tensor
            return lambda positions: tf.gather(resident, positions)
        images = self.images
        # A part of a mapped file does not say where in the file it begins.
        take: Callable[[np.ndarray], np.ndarray] = images.__getitem__
        if isinstance(images, np.memmap) and isinstance(images.base, mmap):
            take = partial(_read_rows, images)

        def read(positions: tf.Tensor) -> tf.Tensor:
            found = tf.numpy_function(take, [positions], tf.uint8, stateful=False)
            return tf.ensure_shape(found, [positions.shape[0], *images.shape[1:]])

        return read


def _read_rows(images: np.memmap, rows: np.ndarray) -> np.ndarray:
    """The same as `images[rows]`, by reading: touching a mapped page would fetch, and keep mapped, much around it."""
    found = np.empty((len(rows), *images.shape[1:]), np.uint8)
    size = images[:1].nbytes
    with open(str(images.filename), "rb", buffering=0) as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_RANDOM)
        for place, row in zip(found, rows, strict=True):
            if os.preadv(file.fileno(), [place.data], images.offset + int(row) * size) != size:
                raise OSError(f"{images.filename} ended before image {row}: it was changed while in use.")
    return found


def pool_fingerprint(class_names: Sequence[str], counts: Sequence[int] | np.ndarray, images: np.ndarray) -> str:
    """SHA-256 over names, counts, shape and pixels of a pool."""
    header = digest([list(class_names), np.asarray(counts).tolist(), list(images.shape)])
    content = hashlib.sha256(header.encode())
    step = max(1, _HASHED_BYTES // max(1, images[:1].nbytes))
    for start in range(0, len(images), step):
        content.update(np.ascontiguousarray(images[start : start + step]).data)
    return content.hexdigest()


class ClassPoolSource(ClassSource):
    """Episodes of the images of a pool; see `ClassSource`."""

    def __init__(
        self,
        pool: ClassPool,
        split: str,
        *,
        ways: int,
        shots: int,
        queries: int,
        seed: int,
        chosen: np.ndarray | None = None,
    ) -> None:
        """See `FewShotDataset.episodes`, and `ClassSource` for `chosen`."""
        self._gather = pool.gatherer()
        super().__init__(
            class_names=pool.class_names,
            counts=pool.counts,
            content={"pool": pool.fingerprint},
            split=split,
            ways=ways,
            shots=shots,
            queries=queries,
            seed=seed,
            chosen=chosen,
        )

    def _inputs(self, positions: tf.Tensor) -> tf.Tensor:
        return scale(self._gather(positions))


@dataclass(frozen=True, kw_only=True, eq=False)
class ImageDataset(FewShotDataset):
    """Images by class in up to three splits, no class in two of them.

    Example:
      >>> def pool(*names):
      ...     return ClassPool(names, np.array([3, 3]), np.zeros((6, 16, 16, 1), "uint8"))
      >>> pools = {"train": pool("a", "b"), "validation": pool("c", "d"), "test": pool("e", "f")}
      >>> ImageDataset.from_pools("mine", pools).input_shape
      (16, 16, 1)

    Attributes:
      pools: the images of each split, all of one shape.
      train_classes: how many of the training classes episodes are made of, 0 for all. Which ones follows from their
        names alone, and fewer are among more.
    """

    pools: Mapping[str, ClassPool]
    train_classes: int = 0

    def __post_init__(self) -> None:
        self._check_train_classes()
        if tuple(self.pools) != self.splits:
            raise DatasetError(
                f"pools must be for the splits {', '.join(self.splits)}, received {', '.join(self.pools)}."
            )
        shapes = {split: pool.images.shape[1:] for split, pool in self.pools.items()}
        if any(shape != self.input_shape for shape in shapes.values()):
            raise DatasetError(f"images of every split must have shape {self.input_shape}, received {shapes}.")
        owner: dict[str, str] = {}
        for split, pool in self.pools.items():
            for name in pool.class_names:
                if owner.setdefault(name, split) != split:
                    raise DatasetError(
                        f"splits must be disjoint by class, but {name!r} is in {owner[name]} and in {split}: remove "
                        "it from one of them."
                    )

    @classmethod
    def from_pools(cls, name: str, pools: Mapping[str, ClassPool], splits: Sequence[str] = SPLITS) -> ImageDataset:
        """A dataset over `pools`, one for each of `splits`: train, validation and test unless it is to test on only."""
        missing = [split for split in splits if split not in pools]
        if missing:
            raise DatasetError(f"pools must contain {', '.join(splits)}; missing: {', '.join(missing)}.")
        shape = tuple(int(size) for size in pools[splits[0]].images.shape[1:])
        return cls(
            name=name,
            problem_kind="classification",
            input_shape=shape,
            value_range=(0.0, 1.0),
            splits=tuple(splits),
            pools={split: pools[split] for split in splits},
        )

    def episodes(self, split: str, *, ways: int | None = None, shots: int, queries: int, seed: int) -> ClassPoolSource:
        """Episodes with inputs float32 `[tasks, ways * (shots or queries), height, width, channels]` in [0, 1].

        Labels are int32 in [0, ways). See `FewShotDataset.episodes` for arguments and errors.
        """
        if ways is None:
            raise DatasetError(
                f"ways must be an integer of at least 2 for {self.name} (classification), received None."
            )
        pool, chosen = self.pools[self.check_split(split)], self._chosen(split)
        return ClassPoolSource(pool, split, ways=ways, shots=shots, queries=queries, seed=seed, chosen=chosen)

    def class_names(self, split: str) -> tuple[str, ...]:
        """The names of the classes of a split."""
        names, chosen = self.pools[self.check_split(split)].class_names, self._chosen(split)
        return names if chosen is None else tuple(names[position] for position in chosen)

    def _chosen(self, split: str) -> np.ndarray | None:
        """Positions of the classes that are used, in their order; None for all."""
        if split != "train" or not self.train_classes:
            return None
        names = self.pools[split].class_names
        # By digest: at random to the eye, the same for ever, and whatever order a pool has.
        by_digest = sorted(range(len(names)), key=lambda position: digest(names[position]))
        return np.sort(np.array(by_digest[: self.train_classes], np.int64))

    def _check_train_classes(self) -> None:
        check_integer("train_classes", self.train_classes, minimum=0)
        there = len(self.pools["train"].class_names) if "train" in self.pools else 0
        if self.train_classes > there:
            raise DatasetError(
                f"train_classes must be at most {there}, the number of training classes of {self.name!r}, received "
                f"{self.train_classes}: use 0 for all."
            )

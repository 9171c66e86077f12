"""Builders of TensorFlow Datasets for the benchmarks that it does not have, on the readers that training uses.

    import cml_tf.datasets.benchmarks.tfds_builders
    tfds.load("few_shot_gtsrb", split="test", download_and_prepare_kwargs={"download_config": ...})

For programs that know TensorFlow Datasets. Training does not go through them:
`cml_tf.datasets.benchmarks.catalogue` decodes the same archives straight into arrays. Importing
this module imports TensorFlow Datasets, which takes seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds

from cml_tf.datasets.base import DatasetError
from cml_tf.datasets.benchmarks.catalogue import BENCHMARKS, archive_of, download_by_hand, source_key, stored_images
from cml_tf.datasets.benchmarks.class_splits import class_splits
from cml_tf.datasets.benchmarks.store import Picture
from cml_tf.datasets.image_files import decode

_CHANNELS = 3
_JPEG = b"\xff\xd8\xff"


# mypy does not see TensorFlow Datasets' own types.
class _ByHand(tfds.core.GeneratorBasedBuilder, skip_registration=True):  # type: ignore[call-arg]
    """A benchmark whose archive is in `manual_dir`, as it was downloaded or unpacked.

    Its splits are those of the classes, which are disjoint; labels number the classes of all splits, training first.
    Examples are `image`, uint8 `[height, width, 3]` as published (not resized); `label`; and `name`, which no other
    picture of the class has.

    Preparing raises DatasetError if the archive is not the published one, is damaged, or has other numbers of images
    than were published, and AssertionError with the instructions if `manual_dir` is empty.
    """

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: ClassVar[dict[str, str]] = {"1.0.0": "As published, split by class."}
    benchmark: ClassVar[str]
    homepage: ClassVar[str]
    citation: ClassVar[str]

    def _info(self) -> tfds.core.DatasetInfo:
        split = class_splits(self.benchmark)
        return tfds.core.DatasetInfo(
            builder=self,
            description=f"{BENCHMARKS[self.benchmark].title}, split by class for few-shot learning. {split.source}",
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=(None, None, _CHANNELS)),
                    "label": tfds.features.ClassLabel(names=[n for names in split.classes.values() for n in names]),
                    "name": tfds.features.Text(),
                }
            ),
            supervised_keys=("image", "label"),
            homepage=self.homepage,
            citation=self.citation,
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Iterator[tuple[str, Any]]]:
        folder, source = Path(dl_manager.manual_dir), archive_of(self.benchmark)
        try:
            pictures = source.verified(folder)
            stored_images(self.benchmark, source_key(source)).names(pictures())
        except DatasetError as error:
            raise DatasetError(
                f"{error} manual_dir, {folder}, must hold {source.name} ({source.size}) from {source.url}, or what was "
                "in it."
            ) from error
        return {
            split: self._generate_examples(pictures, frozenset(names))
            for split, names in class_splits(self.benchmark).classes.items()
        }

    def _generate_examples(
        self, pictures: Callable[[], Iterator[Picture]], classes: Collection[str]
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        for picture in pictures():
            if picture.class_name in classes:
                key = f"{picture.class_name}/{picture.name}"
                image = _image(picture.read(), f"{self.benchmark}: {key}")
                yield key, {"image": image, "label": picture.class_name, "name": picture.name}


def _image(content: bytes, name: str) -> bytes | np.ndarray:
    """A JPEG file as it is; of anything else, which may be what a reader made of an array, the pixels."""
    try:
        pixels = decode(tf.constant(content), _CHANNELS)
    except tf.errors.OpError as error:
        message = error.message.splitlines()[0]
        raise DatasetError(f"{name} cannot be read as an image; replace it. ({message})") from error
    return content if content.startswith(_JPEG) else pixels.numpy()


def _by_hand(benchmark: str) -> str:
    return f"{download_by_hand(benchmark)}\nPut it, as it is or unpacked, into the folder that you give as manual_dir."


class FewShotMiniImagenet(_ByHand):
    """miniImageNet; see `_ByHand`."""

    benchmark = "mini_imagenet"
    homepage = "https://github.com/renmengye/few-shot-ssl-public"
    MANUAL_DOWNLOAD_INSTRUCTIONS = _by_hand(benchmark)
    citation = """\
@inproceedings{vinyals2016matching,
  title={Matching Networks for One Shot Learning},
  author={Vinyals, Oriol and Blundell, Charles and Lillicrap, Timothy and Kavukcuoglu, Koray and Wierstra, Daan},
  booktitle={Advances in Neural Information Processing Systems},
  year={2016}
}
@inproceedings{ravi2017optimization,
  title={Optimization as a Model for Few-Shot Learning},
  author={Ravi, Sachin and Larochelle, Hugo},
  booktitle={International Conference on Learning Representations},
  year={2017}
}"""


class FewShotTieredImagenet(_ByHand):
    """tieredImageNet, from the training pictures of ImageNet; see `_ByHand`."""

    benchmark = "tiered_imagenet"
    homepage = "https://github.com/renmengye/few-shot-ssl-public"
    MANUAL_DOWNLOAD_INSTRUCTIONS = _by_hand(benchmark)
    citation = """\
@inproceedings{ren2018meta,
  title={Meta-Learning for Semi-Supervised Few-Shot Classification},
  author={Ren, Mengye and Triantafillou, Eleni and Ravi, Sachin and Snell, Jake and Swersky, Kevin and
          Tenenbaum, Joshua B. and Larochelle, Hugo and Zemel, Richard S.},
  booktitle={International Conference on Learning Representations},
  year={2018}
}"""


class FewShotAircraft(_ByHand):
    """FGVC-Aircraft, cut to the aircraft; see `_ByHand`."""

    benchmark = "aircraft"
    homepage = "https://www.robots.ox.ac.uk/~vgg/data/fgvc-aircraft"
    MANUAL_DOWNLOAD_INSTRUCTIONS = _by_hand(benchmark)
    citation = """\
@techreport{maji2013fine,
  title={Fine-Grained Visual Classification of Aircraft},
  author={Maji, Subhransu and Rahtu, Esa and Kannala, Juho and Blaschko, Matthew and Vedaldi, Andrea},
  year={2013},
  eprint={1306.5151},
  archivePrefix={arXiv}
}"""


class FewShotGtsrb(_ByHand):
    """The training pictures of GTSRB, all of them to test on; see `_ByHand`."""

    benchmark = "gtsrb"
    homepage = "https://benchmark.ini.rub.de"
    MANUAL_DOWNLOAD_INSTRUCTIONS = _by_hand(benchmark)
    citation = """\
@article{stallkamp2012man,
  title={Man vs. Computer: Benchmarking Machine Learning Algorithms for Traffic Sign Recognition},
  author={Stallkamp, Johannes and Schlipsing, Marc and Salmen, Jan and Igel, Christian},
  journal={Neural Networks},
  volume={32},
  year={2012}
}"""

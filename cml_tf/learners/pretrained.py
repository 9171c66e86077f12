"""Networks that were trained before: those of `keras.applications`, or your own `.keras` file, as extractors.

A network keeps what belongs to it: its size of pictures, its scaling of pixels, and inference mode, in which running
statistics and dropout leak nothing from task to task. All of that is part of the layer, so that it is saved, exported
and served with it; pictures come as everywhere, channels last, in [0, 1].
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import keras
import tensorflow as tf

from cml_tf.boundary.arrays import one_line
from cml_tf.errors import UserError
from cml_tf.learners.example import as_input_shape
from cml_tf.learners.layers.initialisation import linear
from cml_tf.learners.learner import Learner
from cml_tf.learners.mlp import mlp_co_learner
from cml_tf.registry import Given, Settings, option, register

_KERAS_FILE = ".keras"
_SMALLEST = 32


@keras.saving.register_keras_serializable("cml_tf")
class Backbone(keras.layers.Layer):
    """A network with what pictures need before it, in inference mode; gives one row of features a picture.

    Args:
      network: a Keras model of pictures, channels last.
      family: whose scaling of pixels it takes, a module of `keras.applications` such as `mobilenet_v2`; empty for
        [0, 1] as it is.
      size: edge that pictures are scaled to (bilinear); 0 for their own size.
      name: of the layer.

    Example:
      >>> network = keras.applications.MobileNet((32, 32, 3), 0.25, include_top=False, weights=None)
      >>> Backbone(network, "mobilenet", size=32)(np.zeros((2, 28, 28, 1), "float32")).shape
      TensorShape([2, 256])
    """

    def __init__(self, network: keras.Model, family: str = "", size: int = 0, name: str | None = None) -> None:
        super().__init__(name=name)
        self.network = network
        self.family = family
        self.size = size

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Features `[pictures, features]`; maps are averaged."""
        channels = self.network.input_shape[-1]
        pictures = inputs
        if pictures.shape[-1] == 1 and channels == 3:
            pictures = keras.ops.repeat(pictures, 3, axis=-1)
        if self.size and tuple(pictures.shape[1:3]) != (self.size, self.size):
            pictures = keras.ops.image.resize(pictures, (self.size, self.size), antialias=True)
        if self.family:
            pictures = _families()[self.family].preprocess_input(255 * pictures, data_format="channels_last")
        features = self.network(pictures, training=False)
        return keras.ops.mean(features, axis=(1, 2)) if len(features.shape) == 4 else features

    def get_config(self) -> dict[str, Any]:
        """The arguments."""
        network = keras.saving.serialize_keras_object(self.network)
        return {**super().get_config(), "network": network, "family": self.family, "size": self.size}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Backbone:
        """Makes the layer again, its network with other weights."""
        trainable, dtype = config.pop("trainable", True), config.pop("dtype", None)
        made = cls(**{**config, "network": keras.saving.deserialize_keras_object(config["network"])})
        made.trainable = trainable
        if dtype is not None:
            made.dtype_policy = keras.saving.deserialize_keras_object(dtype)
        return made


def pretrained(
    outputs: int | None,
    input_shape: tuple[int, ...],
    network: str = "MobileNetV2",
    weights: str = "imagenet",
    tuned: bool = False,
    size: int = 0,
    width: float = 1.0,
) -> Learner:
    """A network that was trained before as the extractor, and a linear head.

    Example:
      >>> learner = pretrained(5, (32, 32, 3), "MobileNet", weights="", tuned=True, width=0.25)
      >>> learner.example_features.shape
      TensorShape([2, 256])

    Args:
      outputs: width of the head; None for a learner without one.
      input_shape: of one picture, `(height, width, channels)`, 1 or 3 channels; grey ones are repeated.
      network: a name in `keras.applications`, or the path of a `.keras` file whose model takes pictures in [0, 1].
      weights: `imagenet` (downloaded by Keras), the path of a weights file without the top, or empty for random ones
        (of a `.keras` file always those in it).
      tuned: whether the outer loop (and the inner loop where the body adapts) changes the network; otherwise frozen.
      size: edge that pictures are scaled to; 0 for their own, or for the edge that a `.keras` file takes.
      width: `alpha` of a network that has one (MobileNets).

    Raises:
      UserError: for a network or weights that there are not or that cannot be loaded, or pictures too small for it.
    """
    shape = as_input_shape(input_shape)
    if len(shape) != 3 or shape[-1] not in (1, 3):
        raise UserError(f"input_shape must be (height, width, 1 or 3) for a pretrained network, received {shape}.")
    if network.endswith(_KERAS_FILE):
        body, family = _of_file(Path(network)), ""
        size = size or int(body.input_shape[1] or 0)
    else:
        edges = (size, size) if size else shape[:2]
        body, family = _of_keras(network, weights, edges, width), _family_of(network)
    body.trainable = tuned
    extractor = Backbone(body, family, size, name="extractor")
    last = keras.layers.Identity() if outputs is None else linear(outputs, "fan_in_uniform", last=True)
    return Learner(extractor, keras.Sequential([last], name="head"), input_shape=shape)


def _of_file(path: Path) -> keras.Model:
    try:
        model = keras.saving.load_model(path, compile=False, safe_mode=True)
    except (OSError, TypeError, ValueError, KeyError) as error:
        raise UserError(f"learner.network {str(path)!r} cannot be loaded: {one_line(error)}") from error
    if not isinstance(getattr(model, "input_shape", None), tuple) or len(model.input_shape) != 4:
        raise UserError(f"learner.network must take one batch of pictures, {str(path)!r} does not.")
    return model


def _of_keras(name: str, weights: str, edges: tuple[int, ...], width: float) -> keras.Model:
    if _family_of(name) == "":
        raise UserError(f"learner.network must be one of {', '.join(networks())}, or a .keras file, received {name!r}.")
    if min(edges) < _SMALLEST:
        raise UserError(
            f"pictures must be at least {_SMALLEST}x{_SMALLEST} for {name}, received {edges[0]}x{edges[1]}: set "
            f"learner.size to {_SMALLEST} or more."
        )
    narrowed = {} if width == 1 else {"alpha": width}
    try:
        return getattr(keras.applications, name)(
            input_shape=(*edges, 3), include_top=False, weights=weights or None, pooling="avg", **narrowed
        )
    except Exception as error:
        if narrowed and isinstance(error, TypeError):
            raise UserError(f"learner.width must be 1 for {name}, which has no alpha, received {width!r}.") from error
        # Keras raises a bare Exception where a download fails.
        raise UserError(
            f"learner.weights {weights!r} cannot be loaded into {name} ({one_line(error)}): go online for 'imagenet', "
            "or give the path of a weights file (without the top) of this network."
        ) from error


def _families() -> Mapping[str, ModuleType]:
    """The modules of `keras.applications`, by name."""
    found = {name: getattr(keras.applications, name) for name in dir(keras.applications)}
    return {name: module for name, module in found.items() if hasattr(module, "preprocess_input")}


def _family_of(network: str) -> str:
    """The module that has a network; empty for a name that is none."""
    family = str(getattr(getattr(keras.applications, network, None), "__module__", "")).rsplit(".", 1)[-1]
    return family if family in _families() else ""


def networks() -> list[str]:
    """The names of the networks of `keras.applications`."""
    return [name for name in dir(keras.applications) if name[0].isupper() and _family_of(name)]


@dataclass(frozen=True)
class PretrainedOptions:
    """Options of `pretrained`."""

    network: str = option("MobileNetV2", "a name in keras.applications, or the path of a .keras file")
    weights: str = option(
        "imagenet",
        "imagenet (downloaded), the path of a weights file without the top, or empty for random ones; a .keras file "
        "has its own",
    )
    tuned: bool = option(False, "train the network too; otherwise it is frozen")
    size: int = option(
        0, "edge to which images are scaled before the network; 0 for their own, or what a .keras file takes", least=0
    )
    width: float = option(1.0, "alpha of a network in keras.applications that has one (MobileNets)", above=0)


def _faults(settings: Settings) -> list[str]:
    faults = []
    network, file = settings["learner.network"], settings["learner.network"].endswith(_KERAS_FILE)
    if not file and not _family_of(network):
        faults.append(
            f"learner.network must be one of {', '.join(networks())}, or the path of a .keras file, received "
            f"{network!r}."
        )
    if not (settings["learner.weights"] or settings["learner.tuned"] or file):
        faults.append(
            "learner.weights must not be empty unless learner.tuned is True: a frozen network without them knows "
            "nothing."
        )
    return faults


def _co_learner(options: PretrainedOptions, given: Given, blocks: int, adapted: bool) -> keras.Layer:
    return mlp_co_learner(given.problem.outputs, initialisation="fan_in_uniform")


@register(
    "learner",
    "pretrained",
    PretrainedOptions,
    reads=("images",),
    co_learner=_co_learner,
    faults=_faults,
    smoke={"network": "MobileNet", "weights": "", "tuned": True, "size": _SMALLEST, "width": 0.05},
)
def _pretrained(options: PretrainedOptions, given: Given) -> Learner:
    """A network that was trained before, and a linear head; images."""
    # What is restored brings its weights: no file and no download is needed for them.
    weights = "" if given.restored else options.weights
    return pretrained(given.outputs, given.input_shape, **{**vars(options), "weights": weights})

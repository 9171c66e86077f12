"""From the functions of a model to the content of a LiteRT file, or the operations that stand in its way."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import tensorflow as tf

from export.device.lowering import lower
from export.device.signatures import DeviceModule
from export.errors import ExportError
from export.gate.fresh_process import run_fresh

_WORKER = Path(__file__).with_name("conversion_worker.py")
# By operation of TensorFlow: what it is for, and what to do without it.
_OF_CONVOLUTIONS = (
    "gradients through convolutional blocks",
    "adapt the head alone (adaptation.partition=anil), or choose a rule without inner gradients, kernel_ridge for one",
)
_WHY = {
    "AvgPoolGrad": _OF_CONVOLUTIONS,
    "Conv2DBackpropFilter": _OF_CONVOLUTIONS,
    "Conv2DBackpropInput": _OF_CONVOLUTIONS,
    "DepthwiseConv2dNativeBackpropFilter": _OF_CONVOLUTIONS,
    "DepthwiseConv2dNativeBackpropInput": _OF_CONVOLUTIONS,
    "FusedBatchNormGradV3": _OF_CONVOLUTIONS,
    "FusedBatchNormV3": _OF_CONVOLUTIONS,
    "LeakyReluGrad": _OF_CONVOLUTIONS,
    "MaxPoolGrad": _OF_CONVOLUTIONS,
    "MaxPoolGradGrad": _OF_CONVOLUTIONS,
    "Relu6Grad": _OF_CONVOLUTIONS,
    "ReluGrad": _OF_CONVOLUTIONS,
    "SelfAdjointEigV2": ("eigenvalues", "choose another rule, kernel_ridge for one"),
    "ScaleAndTranslate": (
        "images brought to another size",
        "train on images of the size that the backbone has, so that its learner resizes none",
    ),
}
_UNKNOWN = ("a layer or the rule", "choose layers and a rule without them")


def converted(module: DeviceModule) -> bytes:
    """The content of a LiteRT file with a signature for each function.

    Raises:
      ExportError: naming operations that LiteRT lacks, what they are for, and what to do.
    """
    with tempfile.TemporaryDirectory() as scratch:
        saved_model, file = Path(scratch) / "model", Path(scratch) / "model.tflite"
        functions = module.functions()
        tf.saved_model.save(module, str(saved_model), signatures=functions)
        lower(saved_model)
        arguments = [str(saved_model), str(file), *functions]
        lacking = run_fresh(_WORKER, arguments, "the conversion", "convert the model")
        if lacking:
            raise ExportError(refusal(lacking))
        return file.read_bytes()


def refusal(operations: Sequence[str]) -> str:
    """Why a model cannot run on a device, in one line.

    Args:
      operations: of TensorFlow, that LiteRT lacks.
    """
    purposes: dict[tuple[str, str], list[str]] = {}
    for operation in operations:
        purposes.setdefault(_WHY.get(operation, _UNKNOWN), []).append(operation)
    needed = "; ".join(f"{', '.join(names)} for {purpose}" for (purpose, _), names in purposes.items())
    remedies = "; ".join(remedy for _, remedy in purposes)
    return f"the model must need no operation that LiteRT lacks, received {needed}: {remedies}."

"""The sections of a configuration that every experiment has: its dataset, training and evaluation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from cml_tf.datasets.benchmarks.catalogue import BENCHMARKS
from cml_tf.registry import Member, Settings, member, option

EXAMPLES = {
    "sinusoid": "numbers",
    "glyphs": "images",
    "omniglot": "images",
    "image_folder": "images",
    "cora": "nodes",
    "citeseer": "nodes",
    "amazon_computer": "nodes",
    "cora_full": "nodes",
    "graph": "nodes",
    **dict.fromkeys(BENCHMARKS, "images"),
}
"""What episodes are made of, by dataset."""

VECTORISED = {"auto": None, "yes": True, "no": False}
_SEEDS = 2**32


@dataclass(frozen=True)
class General:
    """What belongs to no section."""

    seed: int = option(0, "of initial weights and training episodes", least=0, below=_SEEDS)


@dataclass(frozen=True)
class Numbers:
    """The section `dataset` of a regression."""

    name: str = option("sinusoid", "of the dataset", choices=tuple(EXAMPLES))
    root: str = option("", "folder with its files; empty for one that is made here or downloaded")
    shots: int = option(5, "support examples a class (regression: a task)", least=1)
    queries: int = option(15, "query examples a class, in training", least=1)


@dataclass(frozen=True)
class Classes(Numbers):
    """The section `dataset` of a classification."""

    ways: int = option(5, "classes a task", least=2)


@dataclass(frozen=True)
class ImageFolder(Classes):
    """The section `dataset` of a folder of images."""

    image_size: tuple[int, ...] = option((84, 84), "height and width that images are brought to", least=1)
    channels: int = option(3, "1 for grey images, 3 for coloured ones", least=1, most=3)


@dataclass(frozen=True)
class Nodes(Classes):
    """The section `dataset` of nodes of a graph."""

    classes: tuple[int, ...] = option(
        (), "classes of training, validation and test; empty for the dataset's own", least=1, may_be_empty=True
    )
    class_seed: int = option(0, "which classes are whose", least=0)
    normalise_features: bool = option(False, "whether each node's features are divided by their sum")


def dataset_options(name: str) -> type:
    """The options of a dataset."""
    if name == "image_folder":
        return ImageFolder
    return {"numbers": Numbers, "images": Classes, "nodes": Nodes}[EXAMPLES[name]]


@dataclass(frozen=True)
class LearnerSection:
    """What the section `learner` holds beside the learner's own options."""

    # mixed_float16 would need loss scaling.
    dtype_policy: str = option("float32", "Keras' dtype policy", choices=("float32", "float64", "mixed_bfloat16"))


def _second_order(chosen: Mapping[str, Member]) -> bool:
    return "hypergradient" in chosen and bool(chosen["hypergradient"].traits["second_order"])


@dataclass(frozen=True)
class Train:
    """The section `train`."""

    steps: int = option(1000, "outer steps", least=1)
    meta_batch: int = option(4, "episodes an outer step", least=1)
    task_chunk: int = option(0, "episodes in work at a time, which bounds the memory; 0 chooses", least=0)
    vectorised: str = option(
        "auto",
        "whether all episodes are worked on at once, every operation with a task axis",
        choices=tuple(VECTORISED),
    )
    jit_compile: bool = option(False, "whether XLA compiles the step: for GPUs, slower on CPUs")
    sharpness: float = option(0.0, "radius within which the meta-gradient is taken at the worst point", least=0)
    rate: float = option(1e-3, "the outer rate, Adam's", above=0)
    epsilon: float = option(1e-7, "Adam's, which keeps a step finite where gradients vanish", above=0)
    cosine_steps: int = option(
        0, "steps over which the outer rate falls by half a cosine; 0 for a constant one", least=0
    )
    final_rate: float = option(1e-5, "what the outer rate falls to", least=0)
    first_order_steps: int = option(
        0, "outer steps before which the meta-gradient is of first order (MAML++)", least=0, only=_second_order
    )
    clip_norm: float = option(0.0, "largest global norm of a group's meta-gradient; 0 for none", least=0)
    validate_every: int = option(100, "outer steps between validations", least=1)
    validation_episodes: int = option(100, "of each validation", least=2)
    patience: int = option(0, "validations without a better score before training stops; 0 never stops early", least=0)


@dataclass(frozen=True)
class Evaluation:
    """The section `eval`."""

    episodes: int = option(600, "of an evaluation", least=2)
    seed: int = option(0, "which episodes", least=0, below=_SEEDS)
    queries: int = option(0, "query examples a class; 0 for as many as in training", least=0)


def faults(settings: Settings) -> Iterator[str]:
    """Why these sections do not fit together, or not the learner."""
    kind, learner = EXAMPLES[settings["dataset.name"]], member("learner", settings["learner.name"])
    if kind not in learner.traits["reads"]:
        yield (
            f"learner.name must be of a learner that reads {kind} for dataset {settings['dataset.name']!r}, received "
            f"{learner.name!r}, which reads {' and '.join(learner.traits['reads'])}."
        )
    if (classes := settings.get("dataset.classes")) and len(classes) != 3:
        yield f"dataset.classes must be three numbers (training, validation, test), received {tuple(classes)}."
    if len(settings.get("dataset.image_size", (0, 0))) != 2:
        yield f"dataset.image_size must be height and width, received {tuple(settings['dataset.image_size'])}."
    steps = settings["train.steps"]
    for key, most in (("train.first_order_steps", steps - 1), ("train.cosine_steps", steps)):
        if settings.get(key, 0) > most:
            yield f"{key} must be at most {most} with train.steps {steps}, received {settings[key]}: set both."
    if settings["train.cosine_steps"] and settings["train.final_rate"] > settings["train.rate"]:
        yield (
            f"train.final_rate must be at most train.rate ({settings['train.rate']!r}), received "
            f"{settings['train.final_rate']!r}."
        )

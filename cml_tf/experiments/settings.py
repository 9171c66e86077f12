"""The sections of a configuration that every experiment has: its dataset, training and evaluation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from cml_tf.datasets.benchmarks.catalogue import BENCHMARKS
from cml_tf.datasets.varying_sizes import FIXED, SAMPLINGS
from cml_tf.registry import Member, Settings, member, option, setting, variant

EXAMPLES = {
    "sinusoid": "numbers",
    "shifted_sinusoid": "numbers",
    "cosmixture": "numbers",
    "alpine": "numbers",
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


def alike(name: str) -> list[str]:
    """The datasets that a run on this one can be scored on: those of the same examples, and none of nodes."""
    return [other for other, examples in EXAMPLES.items() if examples == EXAMPLES[name] != "nodes"]


VECTORISED = {"auto": None, "yes": True, "no": False}
_SEEDS = 2**32


@dataclass(frozen=True)
class General:
    """What belongs to no section."""

    seed: int = option(0, "seed of the initial weights and the training episodes", least=0, below=_SEEDS)


@dataclass(frozen=True)
class Dataset:
    """The section `dataset`, whatever the examples are."""

    name: str = option("sinusoid", "name of the dataset", choices=tuple(EXAMPLES))
    root: str = option("", "folder with the files of the dataset; empty if it is generated or downloaded")
    shots: int = option(5, "support examples per class (regression: per task)", least=1)
    queries: int = option(15, "query examples per class in training (regression: per task)", least=1)


@dataclass(frozen=True)
class Numbers(Dataset):
    """The section `dataset` of a regression."""

    tasks: int = option(0, "different training tasks; 0 for a new one with every episode", least=0)
    noisy_tasks: float = option(
        0.0, "share of training tasks whose targets are noise; validation and tests have none", least=0, most=1
    )
    noise_variance: float = option(25.0, "variance of the noise of those tasks", above=0)


@dataclass(frozen=True)
class Classes(Dataset):
    """The section `dataset` of a classification."""

    ways: int = option(5, "classes per task", least=2)
    sampling: str = option(
        FIXED,
        "whether training tasks have one size (fixed), or how sizes are drawn (cml_tf.datasets.varying_sizes)",
        choices=SAMPLINGS,
    )
    ways_range: tuple[int, ...] = option(
        (), "fewest and most classes of training tasks; empty for dataset.ways", least=2, may_be_empty=True
    )
    shots_range: tuple[int, ...] = option(
        (),
        "fewest and most support examples per class of training tasks; empty for dataset.shots",
        least=1,
        may_be_empty=True,
    )


@dataclass(frozen=True)
class Images(Classes):
    """The section `dataset` of images by class."""

    train_classes: int = option(0, "number of training classes that are used; 0 for all", least=0)


@dataclass(frozen=True)
class ImageFolder(Images):
    """The section `dataset` of a folder of images."""

    image_size: tuple[int, ...] = option((84, 84), "height and width to which images are resized", least=1)
    channels: int = option(3, "1 for grey images, 3 for colour images", least=1, most=3)


@dataclass(frozen=True)
class Nodes(Classes):
    """The section `dataset` of nodes of a graph."""

    classes: tuple[int, ...] = option(
        (), "numbers of training, validation and test classes; empty for the dataset's own", least=1, may_be_empty=True
    )
    class_seed: int = option(0, "seed that assigns classes to training, validation and test", least=0)
    normalise_features: bool = option(False, "divide each node's features by their sum")


def dataset_options(name: str) -> type:
    """The options of a dataset."""
    if name == "image_folder":
        return ImageFolder
    return {"numbers": Numbers, "images": Images, "nodes": Nodes}[EXAMPLES[name]]


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
    meta_batch: int = option(4, "episodes per outer step", least=1)
    task_chunk: int = option(0, "episodes processed at a time, to limit memory; 0 for automatic", least=0)
    accumulate: int = option(
        1,
        "pieces in which a replica works on its episodes, one after the other, to save memory; not with task weights",
        least=1,
    )
    vectorised: str = option(
        "auto",
        "process all episodes at once, each operation with a task axis; auto does with small dense layers",
        choices=tuple(VECTORISED),
    )
    jit_compile: bool = option(False, "compile the step with XLA; for GPUs, slower on CPUs")
    sharpness: float = option(0.0, "radius of sharpness-aware minimisation for the meta-gradient; 0 for none", least=0)
    rate: float = option(1e-3, "learning rate of the outer loop (Adam)", above=0)
    epsilon: float = option(1e-7, "epsilon of Adam in the outer loop", above=0)
    cosine_steps: int = option(0, "steps of the cosine decay of the outer rate; 0 for a constant rate", least=0)
    final_rate: float = option(1e-5, "outer rate at the end of the cosine decay", least=0)
    first_order_steps: int = option(
        0, "outer steps at the start with a first-order meta-gradient (MAML++)", least=0, only=_second_order
    )
    clip_norm: float = option(
        0.0, "largest global norm of the meta-gradient of each variable group; 0 for no clipping", least=0
    )
    validate_every: int = option(100, "outer steps between validations", least=1)
    validation_episodes: int = option(100, "episodes of each validation", least=2)
    patience: int = option(0, "validations without a better score after which training stops; 0 for never", least=0)


@dataclass(frozen=True)
class Evaluation:
    """The section `eval`."""

    episodes: int = option(600, "episodes of an evaluation", least=2)
    seed: int = option(0, "seed of the evaluation episodes", least=0, below=_SEEDS)
    queries: int = option(0, "query examples per class in evaluation; 0 for as many as in training", least=0)


variant("any_size", only="images")(
    setting(
        "Training tasks of 2 to 20 classes with 1 to 10 shots.",
        dataset__sampling="uniform",
        dataset__ways_range=(2, 20),
        dataset__shots_range=(1, 10),
    )
)


def sizes_of(dataset: Any) -> tuple[tuple[int, int], tuple[int, int]]:
    """Least and most ways, and least and most shots, of the training tasks of a classification.

    Args:
      dataset: the section of the configuration.
    """
    ways, shots = dataset.ways_range or (dataset.ways,) * 2, dataset.shots_range or (dataset.shots,) * 2
    return (ways[0], ways[1]), (shots[0], shots[1])


def _size_faults(settings: Settings) -> Iterator[str]:
    """Why training tasks cannot have the sizes that are asked for."""
    ranges = {key: settings[key] for key in ("dataset.ways_range", "dataset.shots_range") if settings.get(key)}
    if (settings.get("dataset.sampling", FIXED) == FIXED) != (not ranges):
        yield (
            f"dataset.sampling must be {FIXED!r} just where no range is set, received "
            f"{settings['dataset.sampling']!r} with {', '.join(ranges) or 'none'}: set dataset.ways_range or "
            "dataset.shots_range together with it."
        )
    for key, bounds in ranges.items():
        if len(bounds) != 2 or bounds[0] > bounds[1]:
            yield f"{key} must be the least and the most of them, received {tuple(bounds)}: pass two numbers."
    most = settings.get("dataset.ways_range", ())[-1:]
    if most and settings["dataset.ways"] > most[0]:
        ways = settings["dataset.ways"]
        yield f"dataset.ways must be at most {most[0]}, the most of dataset.ways_range, received {ways}."
    if most and not member("rule", settings["adaptation.rule"]).traits["any_ways"](settings):
        yield (
            "dataset.ways_range must be empty for a model whose class rows are each learned on their own: set "
            "adaptation.class_rows to 'shared' or 'prototypes', or use soft_k_means."
        )
    if ranges and settings["train.jit_compile"]:
        yield "train.jit_compile must be False for tasks of different sizes, which XLA cannot compile: leave it out."


def faults(settings: Settings) -> Iterator[str]:
    """Why these sections do not fit together, or not the learner."""
    kind, learner = EXAMPLES[settings["dataset.name"]], member("learner", settings["learner.name"])
    if kind not in learner.traits["reads"]:
        yield (
            f"learner.name must be a learner that reads {kind} for the dataset {settings['dataset.name']!r}, received "
            f"{learner.name!r}, which reads {' and '.join(learner.traits['reads'])}."
        )
    if (classes := settings.get("dataset.classes")) and len(classes) != 3:
        yield f"dataset.classes must be three numbers (training, validation, test), received {tuple(classes)}."
    yield from _size_faults(settings)
    if len(settings.get("dataset.image_size", (0, 0))) != 2:
        yield f"dataset.image_size must be height and width, received {tuple(settings['dataset.image_size'])}."
    steps = settings["train.steps"]
    for key, most in (("train.first_order_steps", steps - 1), ("train.cosine_steps", steps)):
        if settings.get(key, 0) > most:
            yield f"{key} must be at most {most} with train.steps {steps}, received {settings[key]}: set both keys."
    if settings["train.meta_batch"] % settings["train.accumulate"]:
        batch, pieces = settings["train.meta_batch"], settings["train.accumulate"]
        yield f"train.meta_batch must be a multiple of train.accumulate ({pieces}), received {batch}: set both keys."
    if settings["train.cosine_steps"] and settings["train.final_rate"] > settings["train.rate"]:
        yield (
            f"train.final_rate must be at most train.rate ({settings['train.rate']!r}), received "
            f"{settings['train.final_rate']!r}."
        )

"""Small exported models of images, of waves and of nodes of a graph, and requests to them."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from cml_tf.adaptation import SGD, GradientDescent, UpdateRule
from cml_tf.boundary.digest import variables_digest
from cml_tf.graphs import GraphContext, check_graph, graph_context
from cml_tf.learners import Learner, Normalisation, conv4, mlp
from cml_tf.learners.nodes import gcn
from cml_tf.models.few_shot_model import AdaptedModel, FewShotModel, TaskFunctions
from cml_tf.objectives import QueryLoss
from cml_tf.problems import Classification, Problem, Regression
from cml_tf.readouts import served_variables
from cml_tf.readouts.confidence import Confidence, Knot
from cml_tf.training.method import Method
from export.exporter import write_version
from export.gate.reference import Reference
from export.gate.warm_up import warm_up_requests
from export.graph.bounds import Bounds
from export.graph.exportable import Exportable
from export.graph.serving_module import ServingModule
from export.requests.form import Bucket
from tests.helpers.models import randomise
from tests.helpers.random_graphs import random_features, untidy_edges

WAYS, IMAGE_SHAPE = 3, (16, 16, 1)
FREE_WAYS = 7
NODE_WAYS, FEATURES, NODES = 2, 7, 30
# Images that come as arrays only: files would have a signature of their own, whose decoder is its largest part.
WIDE = (-1.0, 1.0)
# What `saved` models are warmed up with: references are traced anew for every other shape.
WARM = [Bucket(WAYS, 2)]
CLOSE = {"rtol": 1e-5, "atol": 1e-5}
Arrays = dict[str, np.ndarray]
# The input that each of the sizes of `adapt_and_predict_padded` is about.
_SIZES = {"node_count": "node_features", "edge_count": "edges", "support_size": "support_", "query_size": "query_"}


@dataclass
class Served:
    """An exported model, callable by signature with arrays: from `directory` if it was saved, else traced."""

    model: Exportable = None
    module: Any = None
    directory: Path | None = None

    def __call__(self, signature: str, /, **inputs: Any) -> Arrays:
        if signature not in self.functions:
            self.functions[signature] = self.module.function(signature)
        outputs = self.functions[signature](**{name: tf.constant(value) for name, value in inputs.items()})
        return {name: value.numpy() for name, value in outputs.items()}

    @cached_property
    def functions(self) -> dict[str, Any]:
        """By signature: of a file as a stranger loads it, who knows nothing else; or those that were asked for."""
        if self.directory is None:
            return {}
        module: Any = tf.saved_model.load(str(self.directory))
        # The functions hold no reference to the module that holds their variables.
        return {**module.signatures, "": module}

    @cached_property
    def in_process(self) -> FewShotModel:
        """The same model as a user of the library has it, uncompiled."""
        return eager(FewShotModel(self.model.method, self.model.problem, None))

    def adapted(self, inputs: Arrays, task: int = 0, steps: int | None = None) -> AdaptedModel:
        """That user's model, adapted to a task of a request."""
        more = {"context": reference_context(self.model, inputs, task)} if "edges" in inputs else {}
        names = (self.model.form.support, self.model.target_name)
        return self.in_process.adapt(*(inputs[name][task] for name in names), **more, steps=steps)

    @cached_property
    def reference(self) -> Reference:
        return Reference(self.model, self.module.fingerprint)

    @property
    def output(self) -> str:
        """The name of the answer: probabilities or predictions."""
        return self.model.answer_name


def image_model(normalisation: str = "batch_transductive", steps: int = 2, rate: float = 0.1) -> Exportable:
    """A block of 4 filters on 16x16 images, 3 ways."""
    block = [
        *(keras.layers.Conv2D(4, 3, padding="same", use_bias=False), Normalisation(normalisation)),
        *(keras.layers.ReLU(), keras.layers.MaxPooling2D(4)),
    ]
    head = keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(WAYS)])
    learner = Learner(keras.Sequential(block), head, input_shape=IMAGE_SHAPE)
    return exportable(learner, Classification(WAYS), SGD(rate), steps)


def flat_model(normalisation: str = "none", steps: int = 2, rate: float = 0.1) -> Exportable:
    """A hidden layer of 8 units on the same images, where nothing is about convolutions."""
    learner = mlp(WAYS, IMAGE_SHAPE, hidden=(8,), normalisation=normalisation)
    return exportable(learner, Classification(WAYS), SGD(rate), steps)


def recorded_image_model() -> Exportable:
    """Four blocks in their place: the conversations recorded with a real engine are about this one."""
    return exportable(conv4(WAYS, IMAGE_SHAPE, 4), Classification(WAYS), SGD(0.1), 2)


def free_model() -> Exportable:
    """A hidden layer on the same images for tasks of 2 to 7 classes, whose rows begin at prototypes."""
    problem = Classification(FREE_WAYS)
    rule = GradientDescent(problem, SGD(0.01), 1, class_rows="prototypes")
    learner = mlp(FREE_WAYS, IMAGE_SHAPE, hidden=(8,), normalisation="support")
    method = Method.of(learner, rule, [QueryLoss(problem)])
    randomise(method.learner, 0)
    return Exportable(method, problem, WIDE)


def judged_model(open_set: str | None = "feature_distance") -> Exportable:
    """A hidden layer on images with a confidence; its state then has counts and class means at its end."""
    model = dataclasses.replace(flat_model(steps=1), value_range=WIDE)
    digest = variables_digest(variable.value for variable in served_variables(model.method))
    knots = (Knot(1, (0.5,), 0.7, -0.6), Knot(4, (-0.5,), 0.62, -0.5))
    confidence = Confidence(WAYS, "temperature", knots, open_set=open_set, model=digest, steps=1)
    return dataclasses.replace(model, confidence=confidence)


def bounded_model() -> Exportable:
    """The wave model, whose requests may set steps and rate, with compact states in float16."""
    return dataclasses.replace(wave_model(), bounds=Bounds(4, (0.001, 0.02)), state="float16")


def small_model() -> Exportable:
    """2-8-8-3, a classifier with compact states in int8."""
    made = exportable(mlp(WAYS, (2,), hidden=(8, 8)), Classification(WAYS), SGD(0.3), 2)
    return dataclasses.replace(made, state="int8")


def wave_model() -> Exportable:
    """1-8-8-1."""
    return exportable(mlp(1, (1,), hidden=(8, 8)), Regression(1), SGD(0.01), 2, (-5.0, 5.0))


def node_model(learner: Learner | None = None, normalise_features: bool = False, steps: int = 2) -> Exportable:
    """Two graph convolutions of 6 units on nodes with 7 features, 2 ways; or another learner."""
    learner = learner or gcn(NODE_WAYS, FEATURES, (6, 6))
    made = exportable(learner, Classification(NODE_WAYS), SGD(0.1), steps)
    return Exportable(made.method, made.problem, made.value_range, normalise_features)


def exportable(
    learner: Learner, problem: Problem, rule: UpdateRule, steps: int, value_range: tuple[float, float] = (0.0, 1.0)
) -> Exportable:
    """A model with seeded values."""
    randomise(learner, seed=0)
    method = Method.of(learner, GradientDescent(problem, rule, steps), [QueryLoss(problem)])
    return Exportable(method, problem, value_range)


def eager(model: FewShotModel) -> FewShotModel:
    """The same without compiled functions: each shape that is asked once would be traced."""
    compiled = model._task_functions

    def functions(steps: int | None) -> TaskFunctions:
        made = compiled(steps)
        made.adapt, made.predict, made.adapt_and_predict = made._adapt, made._predict, made._adapt_and_predict
        return made

    model._task_functions = functions
    return model


def in_process(model: Exportable) -> Served:
    """The functions that would be saved, each traced when it is first asked for."""
    return Served(model, ServingModule(model))


def saved(model: Exportable, directory: Path) -> Served:
    """Written with its warm-up requests unless it is there, and loaded once it is called."""
    made = in_process(model)
    if not directory.exists():
        write_version(directory, made.module, warm_up_requests(model, WARM, made.reference), "small")
    made.directory = directory
    return made


def loaded(directory: Path) -> Served:
    """A version of which nothing is known but the file."""
    return Served(directory=directory)


def inputs_of(model: Exportable, tasks: int = 1, support: int = 6, query: int = 4, seed: int = 0) -> Arrays:
    """Inputs of `serving_default`, each class in turn."""
    if model.form.query == "query_nodes":
        return node_request(tasks, seed=seed)
    generator = np.random.default_rng(seed)

    def draw(examples: int) -> np.ndarray:
        return generator.uniform(*model.value_range, (tasks, examples, *model.input_shape)).astype(np.float32)

    if model.classification:
        targets = np.tile(np.arange(support, dtype=np.int32) % model.problem.outputs, (tasks, 1))
    else:
        targets = generator.uniform(-3, 3, (tasks, support, model.problem.outputs)).astype(np.float32)
    return {"support_inputs": draw(support), model.target_name: targets, "query_inputs": draw(query)}


def node_request(tasks: int = 1, support: int = 4, query: int = 5, seed: int = 0) -> Arrays:
    """Inputs of `serving_default`: a graph of its own for each task, untidy as users' graphs are."""
    seeds, generator = range(seed, seed + tasks), np.random.default_rng(seed)
    return {
        "node_features": np.stack([random_features(NODES, FEATURES, one) for one in seeds]).astype(np.float32) / 8,
        "edges": np.stack([untidy_edges(NODES, 60, one) for one in seeds]).astype(np.int32),
        "support_nodes": generator.integers(NODES, size=(tasks, support), dtype=np.int32),
        "support_labels": np.tile(np.arange(support, dtype=np.int32) % NODE_WAYS, (tasks, 1)),
        "query_nodes": generator.integers(NODES, size=(tasks, query), dtype=np.int32),
    }


def support_only(inputs: Arrays) -> Arrays:
    """Inputs of `adapt`."""
    return {name: array for name, array in inputs.items() if not name.startswith("query_") and name not in _SIZES}


def query_only(inputs: Arrays) -> Arrays:
    """Inputs of `predict`, but for the state."""
    return {name: array for name, array in inputs.items() if not name.startswith("support_") and name not in _SIZES}


def state_of(answer: Arrays) -> Arrays:
    """What `adapt` gave and `predict` takes."""
    return {name: answer[name] for name in ("adapted_state", "model_fingerprint")}


def sizes_of(inputs: Arrays, **changed: Sequence[int]) -> Arrays:
    """The sizes that `adapt_and_predict_padded` takes, those of the inputs unless changed."""
    found: dict[str, Any] = {}
    for size, name in _SIZES.items():
        array = next((array for key, array in inputs.items() if key.startswith(name)), None)
        if array is not None:
            found[size] = [array.shape[1]] * len(array)
    return {size: np.array(value, np.int32) for size, value in {**found, **changed}.items()}


def reference_context(model: Exportable, inputs: Arrays, task: int = 0) -> GraphContext:
    """The graph of a task as a user of the library prepares it."""
    features = inputs["node_features"][task]
    graph = check_graph(inputs["edges"][task], features, np.zeros(len(features), np.int64))
    return graph_context(graph, model.learner.extractor.hops, normalise_features=model.normalise_features)

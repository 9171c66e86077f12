"""What the `status` of a served task means.

Faults in values never raise in the graph: an error would fail a whole joined batch, strangers' tasks included. The task
at fault gets a status and a blank answer, its neighbours are untouched.
"""

from __future__ import annotations

OK = 0
DIVERGED = 1
LABEL_OUT_OF_RANGE = 2
NON_FINITE_INPUT = 3
SIZE = 4
STATE_OF_ANOTHER_MODEL = 5
NODE_OUT_OF_RANGE = 6
OUT_OF_BOUNDS = 7

# For people who read a model card or an error of the client: what happened, and what to do.
MEANINGS = {
    OK: "The model adapted to the task and answered its queries.",
    DIVERGED: "Adaptation diverged to values that are not finite; what is predicted is that of the unadapted model, or "
    "nothing where an adapted state was asked for. Check that the inputs are in the value range of this card, ask for "
    "fewer steps or a lower rate where the model takes them, or export fewer inner steps.",
    LABEL_OUT_OF_RANGE: "A support label is not in [0, ways). Number the classes of each task from 0.",
    NON_FINITE_INPUT: "An input is NaN or infinite, or the bytes of an image cannot be decoded or have more than "
    "25 million pixels. Correct or remove that example.",
    SIZE: "The support set or the graph is empty, inputs and targets differ in number, or a size is larger than what "
    "was sent or than this model allows. Send at least 1 support example, each with its target, and no more examples "
    "than the model card allows (export with --most_support or --most_queries for more).",
    STATE_OF_ANOTHER_MODEL: "The adapted state is from another model or version, or from a task that failed. "
    "Call adapt again on this version.",
    NODE_OUT_OF_RANGE: "An edge, a support node or a query node is not in [0, nodes). Number nodes from 0, and "
    "send one row of node_features for each.",
    OUT_OF_BOUNDS: "The steps or the rate that the task asks for are not within the bounds of this model. Ask for what "
    "its card allows (-1 for the model's own), or export with other --most_steps and --rates.",
}

# Where several faults meet, the first of these is told.
PRECEDENCE = (
    SIZE,
    STATE_OF_ANOTHER_MODEL,
    OUT_OF_BOUNDS,
    LABEL_OUT_OF_RANGE,
    NODE_OUT_OF_RANGE,
    NON_FINITE_INPUT,
    DIVERGED,
)

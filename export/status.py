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

# For people who read a model card or an error of the client: what happened, and what to do.
MEANINGS = {
    OK: "The task was adapted to and its queries were answered.",
    DIVERGED: "Adaptation gave values that are not finite; the prediction is the unadapted model's. Check that the "
    "inputs are in the value range of this card, or export fewer inner steps.",
    LABEL_OUT_OF_RANGE: "A support label is not in [0, ways). Number the classes of each task from 0.",
    NON_FINITE_INPUT: "An input is NaN or infinite, or the bytes of an image cannot be decoded or hold more than 25 "
    "million pixels. Mend that example.",
    SIZE: "The support set or the graph is empty, inputs and targets differ in number, or a size is not within "
    "what was sent, or more than this model allows. Send 1 or more support examples, each with its target, and no more "
    "than the model card says (export with --most_support or --most_queries for more).",
    STATE_OF_ANOTHER_MODEL: "The adapted state was made by another model or version, or by a task that had failed. "
    "Call adapt again on this version.",
    NODE_OUT_OF_RANGE: "An edge, a support node or a query node is not in [0, nodes). Nodes are numbered from 0, and "
    "each needs its row of node_features.",
}

# Where several faults meet, the first of these is told.
PRECEDENCE = (
    SIZE,
    STATE_OF_ANOTHER_MODEL,
    LABEL_OUT_OF_RANGE,
    NODE_OUT_OF_RANGE,
    NON_FINITE_INPUT,
    DIVERGED,
)

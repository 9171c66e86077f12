"""Learners: an extractor and a head over any Keras model, called as pure functions of their parameters."""

from cml_tf.learners.conv4 import conv4, conv4_co_learner, conv4_head
from cml_tf.learners.layers.convolution import Convolution
from cml_tf.learners.layers.graph import GraphConvolutions, PropagatedFeatures
from cml_tf.learners.layers.heads import Prototypes, TwoHeads
from cml_tf.learners.learner import Forward, Learner, Parameters, State, count_parameters
from cml_tf.learners.mlp import mlp, mlp_co_learner
from cml_tf.learners.nodes import gcn, sgc
from cml_tf.learners.normalisation.layer import Normalisation
from cml_tf.learners.pretrained import Backbone, pretrained
from cml_tf.learners.resnet12 import ResidualBlock, resnet12, resnet12_co_learner
from cml_tf.registry import import_members

__all__ = [
    "Backbone",
    "Convolution",
    "Forward",
    "GraphConvolutions",
    "Learner",
    "Normalisation",
    "Parameters",
    "PropagatedFeatures",
    "Prototypes",
    "ResidualBlock",
    "State",
    "TwoHeads",
    "conv4",
    "conv4_co_learner",
    "conv4_head",
    "count_parameters",
    "gcn",
    "mlp",
    "mlp_co_learner",
    "pretrained",
    "resnet12",
    "resnet12_co_learner",
    "sgc",
]

import_members(__name__, __path__)

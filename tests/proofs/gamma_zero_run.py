"""A few optimiser steps with a co-learner of weight 0, or without a co-learner; a process of its own for each run.

    python -m tests.proofs.gamma_zero_run --learner=conv4 --co_learner=absent --output=run.npz

Two builds of one model in a process get other layer names, which reorders the graph: bit for bit is a promise about
processes that each build one model.
"""

from __future__ import annotations

import argparse

import keras
import numpy as np

from cml_tf.adaptation import SGD, GradientDescent, make_hypergradient
from cml_tf.learners import conv4, conv4_co_learner, mlp, mlp_co_learner
from cml_tf.objectives import CoLearner, QueryLoss
from cml_tf.problems import Classification, Regression
from cml_tf.training.meta_step import MetaStep
from cml_tf.training.method import Method
from tests.helpers.seeded_episodes import classification_episode, regression_episode


def main() -> None:
    """Runs and writes every learner variable, its optimiser slots and the query losses."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--learner", choices=["mlp", "conv4"], required=True)
    parser.add_argument("--co_learner", choices=["absent", "weight_zero", "weight_one"], required=True)
    parser.add_argument("--hypergradient", default="reverse")
    parser.add_argument("--inner_steps", type=int, default=2)
    parser.add_argument("--clip_norm", type=float, default=0.0)
    parser.add_argument("--output", required=True)
    flags = parser.parse_args()

    keras.utils.set_random_seed(7)
    if flags.learner == "mlp":
        problem, learner, layer = Regression(1), mlp(1, (2,)), mlp_co_learner(1)
        episodes = [regression_episode(number) for number in range(4)]
    else:
        problem = Classification(3)
        learner, layer = conv4(3, (28, 28, 1), filters=4), conv4_co_learner(3, filters=4)
        episodes = [classification_episode(number, shape=(28, 28, 1)) for number in range(4)]
    weights = {"absent": [], "weight_zero": [0.0], "weight_one": [1.0]}[flags.co_learner]
    terms = [QueryLoss(problem), *(CoLearner(layer, problem, weight=weight) for weight in weights)]
    rule = GradientDescent(problem, SGD(0.1), flags.inner_steps, make_hypergradient(flags.hypergradient))
    method = Method.of(learner, rule, terms)
    optimisers = {group: keras.optimizers.Adam(0.01) for group in method.trained_variables()}
    step = MetaStep(method, optimisers, flags.clip_norm)
    losses = [step(episode).term_losses[:, 0] for episode in episodes]
    variables = [*method.trained_variables()["learner"], *optimisers["learner"].variables]
    results = {f"variable_{position}": variable.numpy() for position, variable in enumerate(variables)}
    np.savez(flags.output, losses=np.array(losses), **results)


if __name__ == "__main__":
    main()

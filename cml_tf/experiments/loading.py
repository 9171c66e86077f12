"""Loading a trained model, from a run or from where it was saved."""

from __future__ import annotations

from pathlib import Path

from cml_tf.experiments.experiment import Experiment
from cml_tf.experiments.runs import CONFIG, evaluation_method, load_run
from cml_tf.models.few_shot_model import FewShotModel
from cml_tf.models.model_files import read_model
from cml_tf.readouts import read_through


def load(path: str | Path, readout: str = "learner", checkpoint: str = "best") -> FewShotModel:
    """Loads a training run, or a model that `FewShotModel.save` wrote.

    Example:
      >>> model = cml_tf.load("letters")
      >>> model.adapt(images, names).class_names
      ('alpha', 'beta', 'gamma')

    Args:
      path: the directory.
      readout: for a run: which head answers, see `cml_tf.readouts`.
      checkpoint: for a run: `best` or `latest`.

    Raises:
      ValueError: if there is neither in the directory, or it is damaged.
    """
    path = Path(path)
    if (path / CONFIG).is_file():
        return model_of(load_run(path, checkpoint), readout)
    method, problem, value_range = read_model(path)
    return FewShotModel(read_through(method, problem, readout), problem, value_range)


def model_of(experiment: Experiment, readout: str = "learner") -> FewShotModel:
    """The model of a run that is loaded already; it shares the experiment's variables.

    Raises:
      ValueError: if the run has no such readout.
    """
    method = evaluation_method(experiment, None, readout)
    return FewShotModel(method, experiment.problem, experiment.data.value_range, experiment.trainer.method)

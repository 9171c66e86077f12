"""Pictures of a sweep's runs, from their directories: learning curves, and the first test episode."""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure

from cml_tf.datasets.sinusoid import SinusoidSource
from cml_tf.experiments.loading import model_of
from cml_tf.experiments.runs import load_run
from cml_tf.reporting.episode_picture import draw_episode
from cml_tf.reporting.learning_curves import Curve, draw_learning_curves, mean_curves
from cml_tf.reporting.page import Picture
from cml_tf.reporting.regression_picture import draw_regression
from cml_tf.reporting.run_pictures import picture_of_episode, pictures_of_waves, read_curves
from cml_tf.reporting.style import write_png
from cml_tf.reporting.sweep_scores import CML, MAML, Runs, ScoredMethod, Setting

# More lines than colours that can be told apart would be no picture.
_CURVES = 5
_WAVES, _WAVE_STEPS = 3, (0, 1, 5, 10)


def draw_setting(setting: str, methods: Setting, workdir: Path, output: Path) -> list[Picture]:
    """Draws what there is of one setting's runs into `output`.

    Args:
      setting: its name, which begins the files' names.
      methods: its results.
      workdir: with one directory a run, as `cml_tf.sweep --workdir` has it.
      output: folder of the page.

    Returns:
      Learning curves of up to five methods with runs there (plain MAML and CML first), and, where the inputs are
      images or waves, the first test episodes of a run of plain MAML and of CML (of the first method drawn where there
      is neither); nothing if no run of the setting is there.

    Raises:
      RunError: if a run's directory is damaged.
      DatasetError: if the data of a run are not where its configuration says.
    """
    there = {method: _there(runs, workdir) for method, runs in methods.items() if not method.evaluation}
    there = {method: runs for method, runs in there.items() if runs}
    if not there:
        return []
    chosen = sorted(there, key=lambda method: (method not in (MAML, CML), method.place))[:_CURVES]
    metric = next(iter(there[chosen[0]].values()))["metric"]
    curves = [curve for method in chosen for curve in validation_curves(method, there[method], workdir, metric)]
    file = f"{setting}_curves.png"
    write_png(draw_learning_curves(mean_curves(curves), metric), output / file)
    names = ", ".join(method.name for method in chosen)
    rest = f"; {len(there) - len(chosen)} more methods are not drawn" if len(there) > len(chosen) else ""
    caption = f"On validation episodes, mean over seeds: {names}{rest}."
    asked = [method for method in (MAML, CML) if method in there] or chosen[:1]
    shown = [picture for method in asked for picture in _episode(setting, there[method], workdir, output)]
    return [Picture(file, f"Learning curves of {names}.", caption), *shown]


def _there(runs: Runs, workdir: Path) -> Runs:
    return {seed: run for seed, run in runs.items() if (workdir / run["run"]).is_dir()}


def validation_curves(method: ScoredMethod, runs: Runs, workdir: Path, metric: str) -> list[Curve]:
    """The validation curve of each of a method's runs."""
    return [
        curve
        for run in runs.values()
        for curve in read_curves(workdir / run["run"], method.name, metric)
        if curve.split == "validation"
    ]


def _episode(setting: str, runs: Runs, workdir: Path, output: Path) -> list[Picture]:
    run = runs[min(runs)]["run"]
    experiment = load_run(workdir / run)
    source, model = experiment.episodes("test"), model_of(experiment)
    file = f"{run}_episode.png"
    figure: Figure
    if isinstance(source, SinusoidSource):
        figure = draw_regression(pictures_of_waves(model, source, _WAVES, _WAVE_STEPS))
        what = f"The first {_WAVES} test episodes of {run}, before and after inner steps"
    elif len(experiment.data.input_shape) == 3:
        names = experiment.dataset.class_names("test")
        figure = draw_episode(picture_of_episode(model, source, 0, names))
        what = f"The first test episode of {run}, and its answers"
    else:
        return []
    write_png(figure, output / file)
    return [Picture(file, f"{what}.", f"{what}. Not picked: what comes first in the test split.")]

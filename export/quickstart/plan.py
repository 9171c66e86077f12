"""What the quickstart trains, and the commands that do the same by hand: presets and overrides, no more."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from cml_tf.experiments import presets
from cml_tf.studies.page import Command

MAML, CML, SINUSOID = "maml", "cml", "sinusoid"
WAYS, SHOTS, WAVE_SHOTS = 5, 1, 10
_WAVES = f"{CML},{WAVE_SHOTS}shot"
# Numbers of inner steps that the sine waves are shown after; training makes one.
WAVE_STEPS = (0, 1, 5)

# The paper's learner and rules but for the statistics of normalisation, for minutes instead of hours: a third of the
# queries makes meta-steps cheap, and twice the outer rate gets further in few of them. Scores are on the paper's 15
# queries a class.
IMAGE_OVERRIDES: Mapping[str, Any] = {
    "train.steps": 500,
    "train.rate": 2e-3,
    "train.validate_every": 50,
    "train.validation_episodes": 40,
    # The model is served to people who ask about one image at a time (docs/RESULTS.md has both modes' scores).
    "learner.normalisation": "support",
    "dataset.queries": 5,
    "eval.queries": 15,
}
WAVE_OVERRIDES: Mapping[str, Any] = {"train.steps": 3000, "train.rate": 5e-3}


@dataclass(frozen=True)
class Plan:
    """A quickstart.

    Attributes:
      workdir: gets a run in each of the folders maml, cml and sinusoid, and the report.
      episodes: test episodes of each evaluation, at least 2.
      images: overrides of the glyph presets, by dotted key.
      waves: overrides of the sinusoid preset.
    """

    workdir: Path
    episodes: int = 600
    images: Mapping[str, Any] = field(default_factory=lambda: dict(IMAGE_OVERRIDES))
    waves: Mapping[str, Any] = field(default_factory=lambda: dict(WAVE_OVERRIDES))

    def config(self, name: str) -> ConfigDict:
        """The configuration of the run "maml", "cml" or "sinusoid"."""
        config = presets.sinusoid(_WAVES) if name == SINUSOID else presets.images("glyphs", _glyphs(name))
        config.update_from_flattened_dict(dict(self._overrides(name)))
        return config

    def run_directory(self, name: str) -> Path:
        """Where a run lives."""
        return self.workdir / name

    def reproduce(self) -> tuple[Command, ...]:
        """Trains each run by hand, and evaluates."""
        trainings = "\n".join(
            _program(
                "cml_tf.train",
                config=self._config_file(name),
                workdir=f"runs/by_hand/{name}",
                **{f"config.{key}": value for key, value in self._overrides(name).items()},
            )
            for name in (MAML, CML, SINUSOID)
        )
        evaluation = _program(
            "cml_tf.evaluate", workdir="runs/by_hand/cml", compare="runs/by_hand/maml", episodes=self.episodes
        )
        return (
            Command("Everything, with this report:", self._again()),
            Command("The three trainings, one by one:", trainings),
            Command("The comparison:", evaluation),
        )

    def next_commands(self) -> tuple[Command, ...]:
        """The commands that a user would type next."""
        cml, maml = self.run_directory(CML), self.run_directory(MAML)
        page = (self.workdir / "report.html").absolute().as_uri()
        return (
            Command("Look at the report:", f"{interpreter()} -m webbrowser {shlex.quote(page)}"),
            Command(
                "Compare both again, with five inner steps on each test episode:",
                _program("cml_tf.evaluate", workdir=cml, compare=maml, steps=5),
            ),
            Command(
                "Train longer (Ctrl-C saves; the same command continues):",
                _program(
                    "cml_tf.train",
                    config=self._config_file(CML),
                    workdir="runs/glyphs_5way_1shot_cml",
                    **{"config.train.steps": 5000},
                ),
            ),
        )

    def notebook(self) -> Command:
        """How to use the trained model from Python."""
        return Command(
            "In a notebook, with images [examples, 28, 28, 1] in [0, 1] and a name for each:",
            f"import cml_tf\n\nmodel = cml_tf.load({str(self.run_directory(CML))!r})\n"
            "task = model.adapt(images, names)\ntask.predict(more_images)  # probabilities, columns: task.class_names",
        )

    def _again(self) -> str:
        return _program(
            "export.quickstart",
            workdir=self.workdir,
            steps=self.images["train.steps"],
            sinusoid_steps=self.waves["train.steps"],
            episodes=self.episodes,
        )

    def _overrides(self, name: str) -> Mapping[str, Any]:
        return self.waves if name == SINUSOID else self.images

    def _config_file(self, name: str) -> str:
        return f"configs/sinusoid.py:{_WAVES}" if name == SINUSOID else f"configs/glyphs.py:{_glyphs(name)}"


def _glyphs(method: str) -> str:
    return f"{method},{WAYS}way,{SHOTS}shot"


def interpreter() -> str:
    """This Python as one would type it here: relative to the working directory where it lies below."""
    path, here = Path(sys.executable), Path.cwd()
    return shlex.quote(str(path.relative_to(here) if path.is_relative_to(here) else path))


def _program(module: str, **settings: Any) -> str:
    arguments = [shlex.quote(f"--{name}={value}") for name, value in settings.items()]
    return " ".join([interpreter(), "-m", module, *arguments])

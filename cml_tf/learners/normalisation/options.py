"""What learners whose options have a mode of normalisation share: its words, and what cannot be combined with it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cml_tf.learners.normalisation.mode import MODES
from cml_tf.registry import Given, Settings, setting, variant


def normalisation_faults(settings: Settings, widths: Sequence[int], pixels: bool = True) -> list[str]:
    """Why a mode of normalisation cannot be part of a configuration.

    Args:
      settings: by dotted key, those of a learner with a mode among them.
      widths: how many channels its normalisations have.
      pixels: whether its examples have pixels.
    """
    name, faults = settings["learner.normalisation"], []
    mode, groups = MODES[name], settings["learner.groups"]
    told = f"with learner.normalisation {name!r}"
    if mode.counts_steps and not settings.get("adaptation.steps"):
        faults.append(
            f"adaptation.steps must be at least 1 {told}, received "
            f"{settings.get('adaptation.steps', 'a rule without steps')}."
        )
    if name == "group" and (wrong := [width for width in widths if width % groups]):
        faults.append(f"learner.groups must divide {wrong[0]}, the number of channels, {told}, received {groups}.")
    if mode.needs_pixels and not pixels:
        faults.append(
            f"learner.normalisation must not be {name!r} with {settings['learner.name']}, whose examples have no "
            "pixels to take statistics of: use 'layer' or 'support'."
        )
    return faults


def normalised_steps(options: Any, given: Given) -> int:
    """How many inner steps have a scale and shift of their own, by a learner's options."""
    return given.steps if MODES[options.normalisation].counts_steps else 1


for _name, _mode in MODES.items():
    variant(f"norm_{_name}")(setting(f"Statistics for normalisation: {_mode.text}.", learner__normalisation=_name))

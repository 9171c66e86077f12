"""What a run has stored: its checkpoints, which of them is used, and whether its files are what was written.

`latest.npz` is replaced by every save, `best.npz` by a better validation score; `step-00000300.npz` are the ones that
were the latest before. A damaged checkpoint is passed over for the newest sound one, unless somebody asks for
strictness.
"""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from ml_collections import ConfigDict

from cml_tf.errors import UserError
from cml_tf.experiments.configuration import check_config, config_from_json, config_to_json, flatten
from cml_tf.experiments.experiment import Data
from cml_tf.system.files import clear_leftovers, json_text, leftover_names, leftovers, write_json
from cml_tf.system.manifest import (
    MANIFEST,
    DamagedFile,
    check_manifest,
    digest,
    digests_of,
    read_manifest,
    write_manifest,
)
from cml_tf.training.checkpoints import CheckpointError, read_checkpoint

CONFIG, MACHINE, METRICS, CHECKPOINTS = "config.json", "machine.json", "metrics.jsonl", "checkpoints"
# What may change between two starts of one run. The data are known by their fingerprint, wherever they lie.
MAY_GROW, MAY_MOVE, MAY_SPLIT = "train.steps", "dataset.root", "train.accumulate"
LATEST, BEST = "latest.npz", "best.npz"
_LOG = logging.getLogger(__name__)


class RunError(UserError):
    """A working directory that cannot be used as asked."""


class Stored(NamedTuple):
    """A sound checkpoint of a run.

    Attributes:
      path: the file.
      values: arrays by name.
      metadata: of the trainer, and of the run.
      data: what it was trained on.
    """

    path: Path
    values: dict[str, np.ndarray]
    metadata: dict[str, Any]
    data: Data


def stored_checkpoint(workdir: Path, name: str, strict: bool) -> Stored:
    """A checkpoint, or the newest sound one with a warning.

    Args:
      workdir: of the run.
      name: `best` or `latest`.
      strict: whether a damaged one is an error.

    Raises:
      CheckpointError: if it is missing, or damaged and there is no other or none is wanted.
    """
    folder = workdir / CHECKPOINTS
    path = folder / f"{name}.npz"
    if path.name not in (BEST, LATEST):
        raise CheckpointError(f"checkpoint must be one of best, latest, received {name!r}.")
    if not path.exists() and path.name == BEST and (folder / LATEST).exists():
        raise CheckpointError(
            f"{path} does not exist before the first validation: train longer, or use --checkpoint=latest."
        )
    try:
        return _read(path)
    except CheckpointError as error:
        if strict and path.exists():
            raise
        others, faults = _others(folder, path)
        if not others:
            raise
        for fault in faults:
            _LOG.warning("%s", fault)
        chosen = max(others, key=lambda one: one.metadata["step"])
        # A run that was killed between its first best and its first latest lacks nothing.
        if path.exists() or chosen.path.name != BEST:
            _LOG.warning("%s Using %s, after step %d.", error, chosen.path.name, chosen.metadata["step"])
        return chosen


def earlier_checkpoint(folder: Path, step: int) -> Path:
    """Where a checkpoint goes that is the latest no more."""
    return folder / f"step-{step:08d}.npz"


def earlier_checkpoints(folder: Path) -> list[Path]:
    """Those that there are, the oldest first."""
    return sorted(folder.glob("step-*.npz"), key=lambda path: (len(path.name), path.name))


def has_checkpoint(workdir: Path) -> bool:
    """Whether training would go on from somewhere."""
    return any((workdir / CHECKPOINTS).glob("*.npz"))


def _others(folder: Path, path: Path) -> tuple[list[Stored], list[CheckpointError]]:
    """The sound checkpoints beside one, and what is wrong with the others."""
    sound, faults = [], []
    for other in sorted(folder.glob("*.npz")):
        try:
            if other != path:
                sound.append(_read(other))
        except CheckpointError as error:
            faults.append(error)
    return sound, faults


def _read(path: Path) -> Stored:
    values, metadata = read_checkpoint(path)
    try:
        data = Data.from_json(metadata["data"])
        int(metadata["step"])
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"{path} is not the checkpoint of a run: it does not describe the run ({error})."
        ) from error
    return Stored(path, values, metadata, data)


def read_config(workdir: Path) -> ConfigDict:
    """The configuration of a run; RunError if it cannot be read."""
    path = workdir / CONFIG
    try:
        text = path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise RunError(f"{path} cannot be read: {error}.") from error
    return config_from_json(text)


def holds(workdir: Path, config: ConfigDict) -> bool:
    """Whether the run there has this very configuration and nothing to clear, so that it may be read-only."""
    here = (workdir / CONFIG).exists() and config_to_json(read_config(workdir)) == config_to_json(config)
    return here and not any(leftovers(*place) for place in _places(workdir))


def check_workdir(config: ConfigDict, workdir: Path) -> None:
    """Raises RunError unless a run of this configuration may begin, or go on, in a directory."""
    if workdir.exists() and not workdir.is_dir():
        raise RunError(f"{workdir} must be a directory, received a file.")
    path = workdir / CONFIG
    if not path.exists():
        if workdir.exists() and not holds_nothing(workdir):
            raise RunError(
                f"{workdir} is not empty and contains no run ({CONFIG} is missing): choose another directory."
            )
        return
    check_files(workdir)
    there = read_config(workdir)
    check_config(there)
    old, new = (dict(flatten(config_to_json(c))) for c in (there, config))
    keys = [*new, *(key for key in old if key not in new)]
    changed = [key for key in keys if new.get(key) != old.get(key) and key not in (MAY_MOVE, MAY_SPLIT)]
    if MAY_GROW in changed and new[MAY_GROW] > old[MAY_GROW]:
        changed.remove(MAY_GROW)
    if changed:
        told = ((key, *(repr(side[key]) if key in side else "none" for side in (old, new))) for key in changed)
        differences = "; ".join(f"{key}: {there} in the run, {asked} requested" for key, there, asked in told)
        raise RunError(
            f"{workdir} contains a run with another configuration ({differences}). Choose another directory: in a run "
            f"only {MAY_GROW} may increase, {MAY_MOVE} may change when the data have moved, and {MAY_SPLIT} may change."
        )


def check_data(here: Data, there: Data, path: Path) -> None:
    """Raises CheckpointError if a checkpoint was trained on other data."""
    # Checkpoints of before do not say how many features or classes there were; their fingerprint tells data apart too.
    known = there._replace(
        classes=there.classes or here.classes, node_features=there.node_features or here.node_features
    )
    if here != known:
        raise CheckpointError(
            f"{path} was trained on other data (fingerprint {there.fingerprint[:12]}, now {here.fingerprint[:12]}): "
            "restore the data, or train in another directory."
        )


def check_belongs(stored: Stored, config: ConfigDict) -> None:
    """Raises CheckpointError if a checkpoint is that of another configuration than its run has."""
    # Checkpoints of before do not say. A digest would call a run another one when a version adds a key.
    known = stored.metadata.get("config", {})
    here = dict(flatten(config_to_json(config)))
    may_change = (MAY_GROW, MAY_MOVE, MAY_SPLIT)
    changed = [key for key in known if key in here and here[key] != known[key] and key not in may_change]
    if changed:
        raise CheckpointError(
            f"{stored.path} was trained with another configuration ({changed[0]}: {known[changed[0]]!r} there, "
            f"{here[changed[0]]!r} in the run): restore {CONFIG} or the checkpoint from a copy."
        )


def check_files(workdir: Path) -> None:
    """Raises DamagedFile if the configuration, or what is known of the machine, is not what was written."""
    if not check_manifest(workdir, workdir / MANIFEST, may_lack=(CONFIG, MACHINE)):
        _LOG.warning("%s is from before runs had a %s: damage may go unseen.", workdir, MANIFEST)


def check_metrics(workdir: Path, metadata: Mapping[str, Any], strict: bool) -> None:
    """Compares `metrics.jsonl`, up to a checkpoint, with what the checkpoint knows of it.

    Raises:
      DamagedFile: if it is not what was written, and somebody asked for strictness; otherwise that is a warning.
    """
    known = metadata["callbacks"].get("MetricsFile:0") if isinstance(metadata.get("callbacks"), dict) else None
    if not known:
        return
    path = workdir / METRICS
    content = path.read_bytes()[: known["bytes"]] if path.is_file() else b""
    if hashlib.sha256(content).hexdigest() == known["sha256"]:
        return
    fault = f"{path} is damaged, or was changed: its first {known['bytes']} bytes are not those of the last checkpoint"
    if strict:
        raise DamagedFile(f"{fault}. Restore it from a copy.")
    _LOG.warning("%s. Training goes on without the lines that cannot be read.", fault)


def write_described(workdir: Path, described: Mapping[str, Any]) -> None:
    """Writes JSON files of a run, by name, and their digests before them.

    Until a file is replaced the digest of the old one is known too: a run may be killed in between.
    """
    manifest = workdir / MANIFEST
    known = read_manifest(manifest) if manifest.exists() else {}
    there = digests_of(workdir, [path for name in described if (path := workdir / name).is_file()])
    fresh = {name: digest(json_text(value).encode()) for name, value in described.items()}
    write_manifest(
        manifest,
        {**known, **{name: list(dict.fromkeys([one, *there.get(name, [])])) for name, one in fresh.items()}},
    )
    for name, value in described.items():
        write_json(workdir / name, value)


_OWN = "|".join(re.escape(name) for name in (CONFIG, MACHINE, METRICS, MANIFEST))


def holds_nothing(workdir: Path) -> bool:
    """Whether a directory is empty, but for what a start leaves that is killed before it wrote the configuration."""
    return all(
        path.name == MANIFEST or re.fullmatch(leftover_names(_OWN), path.name) is not None for path in workdir.iterdir()
    )


def _places(workdir: Path) -> list[tuple[Path, str]]:
    """Folders in which a run writes, and the names of its files there."""
    places = [(workdir, _OWN), (workdir / CHECKPOINTS, r"(?:latest|best|step-\d{8,})\.npz")]
    return [place for place in places if place[0].is_dir()]


def clear_killed(workdir: Path) -> None:
    """Removes temporary files of earlier starts that were killed; the run must be locked."""
    removed = [path for place in _places(workdir) for path in clear_leftovers(*place)]
    if removed:
        _LOG.info("%s: removed %d files of a killed writer", workdir, len(removed))

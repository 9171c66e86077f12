"""Keeps what is loaded equal to what the configuration and the disk ask for."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from absl import logging

from cml_tf.system.file_faults import file_fault
from export.server.errors import ServingError
from export.server.model_config import ModelConfig
from export.server.servable import Servable
from export.server.versions_table import State, Version, VersionsTable
from export.versions import existing_versions, why_no_version

Load = Callable[[Path], Servable]


class Catalogue:
    """Loads, swaps and unloads versions; requests go on meanwhile.

    Args:
      models: by name.
      load: loads and warms up a version, on a thread of its own; raises ServingError.
      any_label: whether labels may point to versions that are not loaded.

    Attributes:
      table: what answers now.
    """

    def __init__(self, models: Mapping[str, ModelConfig], load: Load, any_label: bool = False) -> None:
        self.table = VersionsTable()
        self._models = dict(models)
        self._load = load
        self._any_label = any_label
        # Of models whose labels wait for the versions that they point to; until then the old ones answer on.
        self._waiting: dict[str, dict[str, int]] = {}
        self._lock = asyncio.Lock()
        self._told: dict[str, str] = {}
        self._unloading: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Loads what is there; labels are given once their versions are loaded.

        Raises:
          ServingError: if a model has versions and none of them loads, or a label points to none that is loaded.
        """
        await self.reload(self._models, load_first=True)

    async def refresh(self) -> None:
        """Looks at the disk: loads new versions, gives labels that waited for them, then unloads what they replace."""
        async with self._lock:
            for model in self._models.values():
                try:
                    await self._refresh_model(model)
                except OSError as error:
                    self._tell(model.name, f"{model.base_path} cannot be read: {error.strerror or error}.")
            for name in (self.table.versions.keys() | self.table.labels.keys()) - self._models.keys():
                self._unload_all_but(name, set())
                self.table.labels.pop(name, None)

    async def reload(self, models: Mapping[str, ModelConfig], load_first: bool = False) -> None:
        """Serves exactly these models from now on.

        Args:
          models: by name.
          load_first: whether labels wait for the versions that they point to; those of other models do not.

        Raises:
          ServingError: if a label points to a version that is not loaded, and nothing has changed (with `load_first`:
            the labels of that model have not); or if a model has versions and none of them loads.
        """
        labels = {name: dict(model.labels) for name, model in models.items()}
        if not load_first:
            self._check_labels(models)
        async with self._lock:
            self._models = dict(models)
            if load_first:
                self._waiting = labels
            else:
                self._waiting, self.table.labels = {}, labels
        await self.refresh()
        for name in models:
            self._raise_if_all_failed(name)
        if load_first:
            self._check_labels(models)

    async def close(self) -> None:
        """Unloads everything; returns when the last request is answered."""
        async with self._lock:
            for name in self.table.versions:
                self._unload_all_but(name, set())
        await asyncio.gather(*self._unloading)

    async def _refresh_model(self, model: ModelConfig) -> None:
        on_disk = await asyncio.to_thread(existing_versions, model.base_path)
        known = self.table.versions.setdefault(model.name, {})
        served: list[int] = []
        for number in model.candidates(on_disk):
            await self._load_version(model.name, number, on_disk[number])
            if known[number].state == State.AVAILABLE:
                served.append(number)
            if len(served) == model.newest:
                break  # One that is not whole counts for nothing: the next lower one answers until it is.
        if not known:
            del self.table.versions[model.name]
        self._give_labels(model.name)
        # Whatever goes wrong with the new ones, the old ones answer on.
        if served:
            labelled = self.table.labels.get(model.name, {}).values() if model.name in self._waiting else ()
            self._unload_all_but(model.name, {*served, *labelled})
        self._tell(model.name, await asyncio.to_thread(self._remark, model, on_disk, served))

    def _remark(self, model: ModelConfig, on_disk: Mapping[int, Path], served: Sequence[int]) -> str:
        """What a user should know of what is served, and empty if it is what there is."""
        if not self.table.available(model.name):
            if not on_disk:
                return why_no_version(model.base_path)
            if model.specific and not model.specific & on_disk.keys():
                listed = ", ".join(map(str, sorted(on_disk)))
                return f"{model.base_path} has none of the versions in the configuration: it contains {listed}."
        known = self.table.versions.get(model.name, {})
        passed_over = [
            f"version {number} ({' '.join(version.error.message.split())})"
            for number, version in sorted(known.items())
            if version.error is not None and number in on_disk and served and number > min(served)
        ]
        answering = ", ".join(map(str, sorted(served)))
        return f"version {answering} is served; skipped: {'; '.join(passed_over)}." if passed_over else ""

    def _tell(self, model: str, remark: str) -> None:
        """Says it once: the disk is looked at every second."""
        if remark and remark != self._told.get(model):
            logging.warning("%s: %s", model, remark)
        self._told[model] = remark

    async def _load_version(self, model: str, number: int, directory: Path) -> None:
        known = self.table.versions[model]
        current = known.get(number)
        if current is not None and current.state in (State.AVAILABLE, State.UNLOADING):
            return
        stamp = await asyncio.to_thread(_stamp, directory)
        if current is not None and current.error is not None and current.stamp == stamp:
            return  # It failed, and its files are still the same.
        version = known[number] = Version(directory, State.LOADING, stamp=stamp)
        try:
            version.servable = await asyncio.to_thread(self._load, directory)
        except (ServingError, OSError) as error:
            fault = error if isinstance(error, ServingError) else _damage(error)
            version.state, version.error = State.END, fault
            told = " ".join(fault.message.split())
            logging.error("version %d of %s cannot be loaded: %s: %s", number, model, fault.code, told)
        except Exception as error:
            version.state = State.END
            version.error = ServingError("INTERNAL", f"{type(error).__name__}: {error}")
            logging.exception("version %d of %s cannot be loaded", number, model)
        else:
            version.state = State.AVAILABLE
            logging.info("version %d of %s is available", number, model)

    def _unload_all_but(self, model: str, wanted: set[int]) -> None:
        for number, version in self.table.available(model).items():
            if number not in wanted:
                version.state = State.UNLOADING
                task = asyncio.create_task(_unload(version))
                self._unloading.add(task)
                task.add_done_callback(self._unloading.discard)

    def _give_labels(self, model: str) -> None:
        waiting = self._waiting.get(model)
        if waiting is None or not (self._any_label or set(waiting.values()) <= self.table.available(model).keys()):
            return
        self.table.labels[model] = self._waiting.pop(model)

    def _check_labels(self, models: Mapping[str, ModelConfig]) -> None:
        if self._any_label:
            return
        for model in models.values():
            for version in model.labels.values():
                if version not in self.table.available(model.name):
                    raise ServingError(
                        "FAILED_PRECONDITION",
                        f"Request to assign label to version {version} of model {model.name}, which is not currently "
                        "available for inference",
                    )

    def _raise_if_all_failed(self, name: str) -> None:
        if self.table.available(name):
            return
        for number, version in self.table.versions.get(name, {}).items():
            if version.error is not None:
                raise ServingError(
                    version.error.code, f"version {number} of model {name} cannot be loaded: {version.error.message}"
                )


async def _unload(version: Version) -> None:
    await version.idle()
    if version.servable is not None:
        await asyncio.to_thread(version.servable.close)
    version.servable = None
    version.state = State.END
    collect_and_freeze()


def _damage(error: OSError) -> ServingError:
    return ServingError("DATA_LOSS", file_fault(error) or str(error))


def _stamp(directory: Path) -> object:
    """Names, sizes and times of the files: a copy that was not whole when it was looked at is looked at again."""
    files = []
    for path in sorted(directory.rglob("*")):
        try:
            status = path.stat()
        except OSError:
            continue  # Gone since it was listed, or not readable; the look after that changes has another stamp.
        files.append((str(path), status.st_size, status.st_mtime_ns))
    return files


def collect_and_freeze() -> None:
    """Frees what nobody can reach, and leaves the rest out of later searches until the next call.

    The lists of a large JSON body set off searches; with all of TensorFlow to look through, each takes longer than
    the request. What was frozen is looked at again here: a graph is full of cycles, and would otherwise outlive its
    version.
    """
    gc.unfreeze()
    gc.collect()
    gc.freeze()

"""Replicas: the tasks of a meta-batch shared over devices and processes, by a strategy of `tf.distribute`.

Replica r of R takes the tasks i = r mod R of each meta-batch and makes the gradient of them. The mean over replicas is
taken before anything is made of it. So every number of replicas trains as one process does, but for the order in which
numbers are added.

Each process has one copy of the variables, made outside the scope of the strategy, and updates it once: Keras'
optimisers would add up gradients that are mirrored a second time, and could not skip the update in a branch. Processes
start from the values of the first one, and make the same update of the same mean.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from typing import Any

import keras
import tensorflow as tf

from cml_tf.datasets.base import EpisodeSource
from cml_tf.episodes import Episode
from cml_tf.errors import UserError

_SUM, _MEAN = tf.distribute.ReduceOp.SUM, tf.distribute.ReduceOp.MEAN
_STRATEGIES = (tf.distribute.MirroredStrategy, tf.distribute.MultiWorkerMirroredStrategy)


class Replicas:
    """All devices that a training runs on.

    Example:
      >>> Replicas().count
      1

    Args:
      strategy: whose devices are meant; None for one device.

    Raises:
      UserError: for a strategy of another kind.

    Attributes:
      count: number of replicas, in all processes.
      local: number of replicas in this process.
      first: number of this process' first replica; its others follow.
      processes: number of processes.
    """

    def __init__(self, strategy: tf.distribute.Strategy | None = None) -> None:
        if strategy is not None and not isinstance(strategy, _STRATEGIES):
            raise UserError(
                "the strategy must be a MirroredStrategy or a MultiWorkerMirroredStrategy, received "
                f"{type(strategy).__name__}: use one of them, or none."
            )
        self.strategy = strategy
        self.count, self.local, self.first = 1, 1, 0
        if strategy is not None:
            numbers = strategy.experimental_distribute_values_from_function(
                lambda context: context.replica_id_in_sync_group
            )
            own = [int(number) for number in strategy.experimental_local_results(numbers)]
            self.count, self.local, self.first = strategy.num_replicas_in_sync, len(own), own[0]
        self.processes = self.count // self.local
        self._joined = tf.function(lambda values: self.one_of(self.run(self.joined, values)), autograph=False)
        self._of_first = tf.function(lambda values: self.one_of(self.run(self._first, values)), autograph=False)

    @property
    def is_chief(self) -> bool:
        """Whether this process is the one that writes."""
        return self.first == 0

    def check_divides(self, meta_batch: int, pieces: int = 1) -> None:
        """Raises UserError unless all replicas get as many tasks, in pieces of the same size."""
        if meta_batch % (self.count * pieces):
            pieced = f" and train.accumulate {pieces}" if pieces > 1 else ""
            raise UserError(
                f"the meta-batch must be a multiple of {self.count * pieces} for {self.count} "
                f"replica{'s' if self.count > 1 else ''}{pieced}, received {meta_batch} tasks: use another number of "
                "them, or set train.meta_batch."
            )

    def rounded_up(self, tasks: int) -> int:
        """The least number of tasks from `tasks` on that all replicas can share."""
        return -(-tasks // self.count) * self.count

    # ---- in Python, in every process

    def batches(self, source: EpisodeSource, start: int, meta_batch: int) -> tf.data.Dataset:
        """As `source.batches`, with the tasks of this process alone."""
        if self.processes == 1:
            return source.batches(start, meta_batch)
        self.check_divides(meta_batch)
        return source.batches(start, meta_batch, (self.first, self.local, self.count))

    def of_process(self, episode: Episode) -> Episode:
        """The tasks of this process, from a whole meta-batch."""
        if self.processes == 1:
            return episode
        return _of_tasks(
            lambda part: part.reshape(-1, self.count, *part.shape[1:])[:, self.first : self.first + self.local].reshape(
                -1, *part.shape[1:]
            ),
            episode,
        )

    def numbers_of_process(self, tasks: int) -> list[int]:
        """Which of a meta-batch's tasks those of this process are, of which there are so many, in their order."""
        return [task // self.local * self.count + self.first + task % self.local for task in range(tasks)]

    def anywhere(self, flag: bool) -> bool:
        """Whether a flag is set in any process; all of them must ask."""
        return flag if self.processes == 1 else bool(self._joined(tf.constant([int(flag)])).numpy().any())

    def check_alike(self, what: str, value: str) -> None:
        """Raises UserError unless all processes call this with the same value; none goes on before all have called.

        Args:
          what: the value is, in words.
          value: any text.
        """
        if self.processes == 1:
            return
        number = int.from_bytes(hashlib.sha256(value.encode()).digest()[:7], "big")
        if len(set(self._joined(tf.constant([number], tf.int64)).numpy().tolist())) > 1:
            raise UserError(
                f"all processes must have the same {what}, received different ones: give all of them the same flags, "
                "and one directory that they share."
            )

    def align(self, variables: Iterable[keras.Variable]) -> None:
        """Gives the variables of every process the values that they have in the first."""
        if self.processes > 1:
            variables = list(variables)
            values = self._of_first([tf.convert_to_tensor(variable) for variable in variables])
            for variable, value in zip(variables, values, strict=True):
                variable.assign(value)

    # ---- in the graph, across replicas

    def run(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Calls a function once on every replica."""
        return function(*arguments) if self.strategy is None else self.strategy.run(function, arguments)

    def one_of(self, values: Any) -> Any:
        """What a result of `run` is on one replica of this process."""
        if self.strategy is None:
            return values
        return tf.nest.map_structure(lambda value: self.strategy.experimental_local_results(value)[0], values)

    # ---- in the graph, on a replica

    def share(self, episode: Episode) -> Episode:
        """The tasks of this replica, from those of its process."""
        if self.local == 1:
            return episode
        own = self._number() - self.first
        return _of_tasks(lambda part: tf.reshape(part, [-1, self.local, *part.shape[1:]])[:, own], episode)

    def mean(self, values: Any) -> Any:
        """The mean over replicas of a structure of tensors."""
        return values if self.count == 1 else _reduced(_MEAN, values)

    def joined(self, values: Any) -> Any:
        """Of tensors with one row for each task of a replica, those of all tasks, in the order of the meta-batch."""
        # Adding zeros changes no number, and puts tasks in their places at once.
        return values if self.count == 1 else _reduced(_SUM, tf.nest.map_structure(self._spread, values))

    def own_rows(self, rows: tf.Tensor) -> tf.Tensor:
        """The rows of this replica's tasks: what `joined` has put together."""
        return rows if self.count == 1 else tf.reshape(rows, [-1, self.count, *rows.shape[1:]])[:, self._number()]

    def _first(self, values: Any) -> Any:
        own = values if self._number() == 0 else tf.nest.map_structure(tf.zeros_like, values)
        return _reduced(_SUM, own)

    def _number(self) -> int:
        return int(tf.get_static_value(tf.distribute.get_replica_context().replica_id_in_sync_group))

    def _spread(self, rows: tf.Tensor) -> tf.Tensor:
        before = self._number()
        around = [[0, 0], [before, self.count - 1 - before], *([[0, 0]] * (rows.shape.rank - 1))]
        return tf.reshape(tf.pad(rows[:, tf.newaxis], around), [-1, *rows.shape[1:]])


ONE = Replicas()
"""One device."""


def _reduced(operation: tf.distribute.ReduceOp, values: Any) -> Any:
    """One message for all tensors of a number format: TensorFlow cannot pack several formats into one."""
    # TensorFlow asks where the tensors are, which it does not know of a function's arguments.
    flat = [tf.identity(tensor) for tensor in tf.nest.flatten(values)]
    context = tf.distribute.get_replica_context()
    for dtype in dict.fromkeys(tensor.dtype for tensor in flat):
        places = [place for place, tensor in enumerate(flat) if tensor.dtype == dtype]
        for place, total in zip(places, context.all_reduce(operation, [flat[p] for p in places]), strict=True):
            flat[place] = total
    return tf.nest.pack_sequence_as(values, flat)


def _of_tasks(function: Callable[[Any], Any], episode: Episode) -> Episode:
    """An episode with a function applied to everything that has a task axis."""
    support, query, key, classes = tf.nest.map_structure(
        function, (episode.support, episode.query, episode.key, episode.classes)
    )
    return Episode(support, query, episode.context, key, classes)

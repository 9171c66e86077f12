"""The game of Snake on a square board, many games at once, as pure functions.

The head moves up, right, down or left, and the body follows. A move off the board or into the body ends the game, but
the cell of the tail is free to enter: the tail moves on. Fruit gives a reward of 1 and makes the body longer by one; a
new fruit appears on a free cell. A game also ends with a full board, or when it has lasted for `limit` moves. A game
that ends begins anew at once. All chance is an argument (`draws`): a game is a function of its moves and its draws.
"""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

MOVES = ((-1, 0), (0, 1), (1, 0), (0, -1))
"""Rows and columns that the actions move the head by: up, right, down, left."""
PLANES = 5
"""What is seen of each cell: body, head, tail, fruit, and the place in the body."""
DRAWS = 3
"""What a game may draw in a move: a new fruit; the head and the fruit of a new game. The highest number's cell wins."""


class Board(NamedTuple):
    """Games that are being played; cells are counted row by row.

    Attributes:
      order: `[games, cells]`, int32: 0 where a cell is free, 1 at the tail, and so on up to the head.
      fruit: `[games]`, int32, the cell of the fruit.
      moves: `[games]`, int32, made in this game.
    """

    order: tf.Tensor
    fruit: tf.Tensor
    moves: tf.Tensor


class Moved(NamedTuple):
    """What comes of a move.

    Attributes:
      board: after it; a new game where the last one ended.
      reward: `[games]`, float32.
      done: `[games]`, bool: whether a game ended.
    """

    board: Board
    reward: tf.Tensor
    done: tf.Tensor


def start(draws: tf.Tensor) -> Board:
    """New games: a head on any cell, a fruit on any other.

    Args:
      draws: `[games, DRAWS, cells]`, independent and uniform in [0, 1).
    """
    head = tf.argmax(draws[:, 1], 1, tf.int32)
    order = tf.one_hot(head, draws.shape[2], dtype=tf.int32)
    return Board(order, _fruit(order, draws[:, 2]), tf.zeros_like(head))


def move(board: Board, action: tf.Tensor, draws: tf.Tensor, limit: int) -> Moved:
    """One move in every game.

    Args:
      board: before it.
      action: `[games]`, int32, 0 to 3: up, right, down, left.
      draws: as of `start`.
      limit: moves that a game lasts at most.
    """
    order = board.order
    cells = order.shape[1]
    side = round(cells**0.5)
    length, head = tf.reduce_max(order, 1), tf.argmax(order, 1, tf.int32)
    row, column = tf.unstack(tf.stack([head // side, head % side], 1) + tf.gather(tf.constant(MOVES), action), axis=1)
    inside = (row >= 0) & (row < side) & (column >= 0) & (column < side)
    # Off the board the cell is none: no place of the one-hot vector.
    cell = tf.where(inside, row * side + column, -1)
    entered = tf.one_hot(cell, cells, dtype=tf.int32)
    valid = inside & (tf.reduce_sum(order * entered, 1) <= 1)
    eats = valid & (cell == board.fruit)
    longer = length + tf.cast(eats, tf.int32)
    followed = tf.where(eats[:, None], order, tf.maximum(order - 1, 0))
    followed = tf.where(entered > 0, longer[:, None], followed)
    fruit = tf.where(eats, _fruit(followed, draws[:, 0]), board.fruit)
    moves = board.moves + 1
    done = ~valid | (longer == cells) | (moves >= limit)
    fresh = start(draws)
    played = Board(followed, fruit, moves)
    return Moved(_choose(done, fresh, played), tf.cast(eats, tf.float32), done)


def observe(board: Board) -> tf.Tensor:
    """What a player sees, `[games, cells, PLANES]`, float32 in [0, 1]."""
    order = board.order
    length = tf.reduce_max(order, 1, keepdims=True)
    fruit = tf.one_hot(board.fruit, order.shape[1])
    seen = [tf.cast(plane, tf.float32) for plane in (order > 0, order == length, order == 1, fruit)]
    return tf.stack([*seen, tf.cast(order, tf.float32) / tf.cast(length, tf.float32)], 2)


def _fruit(order: tf.Tensor, draws: tf.Tensor) -> tf.Tensor:
    """The free cell with the highest draw; of a full board, which ends the game, any cell."""
    return tf.argmax(tf.where(order == 0, draws, -1.0), 1, tf.int32)


def _choose(condition: tf.Tensor, one: Board, other: Board) -> Board:
    order = tf.where(condition[:, None], one.order, other.order)
    return Board(order, tf.where(condition, one.fruit, other.fruit), tf.where(condition, one.moves, other.moves))

"""Snake on many boards, move by move against a plain game of one board."""

import numpy as np
import pytest
import tensorflow as tf

from examples.snake.game import DRAWS, Board, move, observe, start

DIRECTIONS = {0: (-1, 0), 1: (0, 1), 2: (1, 0), 3: (0, -1)}


class PlainGame:
    """One board, written from the rules: the body is a list of places, the tail first."""

    def __init__(self, side, limit, draws):
        self.side, self.limit = side, limit
        self.begin(draws)

    def places(self, taken=()):
        every = [(row, column) for row in range(self.side) for column in range(self.side)]
        return [place for place in every if place not in taken]

    def best(self, draws, taken=()):
        return max(self.places(taken), key=lambda place: draws[place[0] * self.side + place[1]])

    def begin(self, draws):
        self.body = [self.best(draws[1])]
        self.fruit = self.best(draws[2], self.body)
        self.moves, self.eaten = 0, 0

    def ahead(self, action):
        (row, column), (down, right) = self.body[-1], DIRECTIONS[action]
        return row + down, column + right

    def is_valid(self, action):
        place = self.ahead(action)
        return place in self.places() and place not in self.body[1:]

    def move(self, action, draws):
        """The reward, and whether the game ended, which then has begun anew."""
        place, self.moves = self.ahead(action), self.moves + 1
        if not self.is_valid(action):
            self.begin(draws)
            return 0, True
        eats = place == self.fruit
        if eats:
            self.eaten += 1
        else:
            self.body.pop(0)
        self.body.append(place)
        done = len(self.body) == self.side**2 or self.moves == self.limit
        if done:
            self.begin(draws)
        elif eats:
            self.fruit = self.best(draws[0], self.body)
        return int(eats), done

    def order(self):
        found = np.zeros((self.side, self.side), int)
        for number, place in enumerate(self.body, 1):
            found[place] = number
        return found.ravel()


@pytest.mark.parametrize("side, limit, seed", [(2, 30, 0), (3, 25, 1), (4, 60, 2), (4, 200, 3)])
def test_many_boards_are_as_many_plain_games(side, limit, seed):
    games, generator = 16, np.random.default_rng(seed)
    step = tf.function(lambda *given: move(*given, limit), autograph=False)
    draws = generator.random((games, DRAWS, side**2), np.float32)
    board, plain = start(tf.constant(draws)), [PlainGame(side, limit, own) for own in draws]
    returns, most, ends = np.zeros(games), 0, 0
    for _ in range(160):
        # Mostly moves that go on, else bodies would stay short.
        legal = [[action for action in range(4) if game.is_valid(action)] or [0] for game in plain]
        actions = [generator.integers(4) if generator.random() < 0.02 else generator.choice(own) for own in legal]
        draws = generator.random((games, DRAWS, side**2), np.float32)
        board, *came = step(board, tf.constant(actions, tf.int32), tf.constant(draws))
        order, fruits, moves, rewards, ended = (part.numpy() for part in (*board, *came))
        for number, game in enumerate(plain):
            reward, done = game.move(actions[number], draws[number])
            assert (rewards[number], ended[number]) == (reward, done)
            assert np.array_equal(order[number], game.order())
            assert divmod(fruits[number], side) == game.fruit and moves[number] == game.moves
            most = max(most, returns[number] + reward)
            returns[number] = 0 if done else returns[number] + reward
            ends += done
            assert np.count_nonzero(order[number]) == np.max(order[number]) == 1 + returns[number]
            assert order[number, fruits[number]] == 0
    assert most <= side**2 - 1 and ends > games and (side > 2 or most == 3)


def board_of(side, body, fruit):
    order = np.zeros(side**2, np.int32)
    order[body] = np.arange(1, len(body) + 1)
    return Board(*(tf.constant([part], tf.int32) for part in (order, fruit, 0)))


def draws_of(side):
    return tf.random.stateless_uniform([1, DRAWS, side**2], [0, 1])


def test_a_circle_of_four_cells_survives_to_the_limit():
    board = board_of(4, [1, 5, 4, 0], fruit=15)
    for number in range(1, 51):
        board, reward, done = move(board, tf.constant([(1, 2, 3, 0)[(number - 1) % 4]]), draws_of(4), 50)
        assert float(reward[0]) == 0 and bool(done[0]) == (number == 50)


def test_what_ends_a_game_and_what_does_not():
    for body, action, ends in (
        ([1, 0], 1, False),  # the tail's cell
        ([2, 1, 0, 4, 5], 0, True),  # the body's
        ([0], 0, True),  # off the board
        ([3], 1, True),  # no wrap to the next row
    ):
        assert bool(move(board_of(4, body, 15), tf.constant([action]), draws_of(4), 50).done[0]) == ends, body
    full = move(board_of(2, [0, 1, 3], 2), tf.constant([3]), draws_of(2), 50)
    assert float(full.reward[0]) == 1 and bool(full.done[0]) and int(tf.reduce_sum(full.board.order)) == 1


def test_a_player_sees_body_head_tail_fruit_and_order():
    seen = observe(board_of(2, [0, 1], fruit=3))[0].numpy()
    np.testing.assert_allclose(seen, [[1, 0, 1, 0, 0.5], [1, 1, 0, 0, 1.0], [0, 0, 0, 0, 0], [0, 0, 0, 1, 0]])

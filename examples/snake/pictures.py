"""Learning curves with their intervals over seeds, and a game as an animated picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from matplotlib.figure import Figure
from PIL import Image, ImageColor, ImageDraw

from cml_tf.studies.pictures.style import BLUE, FAINT, GREEN, VERMILLION, colours, house_style, new_figure
from cml_tf.system.files import atomic_file
from cml_tf.training.evaluator import confidence_interval
from examples.snake.agent import Weights, answer
from examples.snake.game import DRAWS, move, observe, start
from examples.snake.training import Settings

CELL = 36
_LABELS = (("drawn", "return of a game"), ("gamma", "discount"))


def draw_curves(results: Sequence[dict[str, Any]]) -> Figure:
    """Return and discount against frames, a colour for each mix: means over seeds with 95 % intervals."""
    by_mix: dict[str, list[dict[str, Any]]] = {}
    for result in results:
        by_mix.setdefault(result["settings"]["mix"], []).append(result["curve"])
    colour_of = colours(list(by_mix))
    with house_style():
        figure = new_figure(10.0, 4.2)
        for axes, (key, label) in zip(figure.subplots(1, 2), _LABELS, strict=True):
            for mix, curves in by_mix.items():
                frames, values = np.array(curves[0]["frames"]) / 1e6, np.array([curve[key] for curve in curves])
                axes.plot(frames, values.mean(0), color=colour_of[mix], label=f"{mix} ({len(curves)} seeds)")
                if len(curves) > 1:
                    wide = np.array([confidence_interval(point) for point in values.T])
                    low, high = values.mean(0) - wide, values.mean(0) + wide
                    axes.fill_between(frames, low, high, color=colour_of[mix], alpha=0.2, linewidth=0)
            axes.set(xlabel="frames [millions]", ylabel=label)
        figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside upper left", ncols=len(by_mix))
    return figure


def record_game(settings: Settings, policy: Weights, seed: int) -> tuple[list[Image.Image], int]:
    """Pictures of one game of a greedy player, and its return."""
    draws = np.random.default_rng(seed).random((settings.limit + 1, 1, DRAWS, settings.side**2), np.float32)
    board, total = start(tf.constant(draws[0])), 0
    pictures = [picture(board.order[0].numpy(), int(board.fruit[0]))]
    for drawn in draws[1:]:
        moved = move(board, tf.argmax(answer(policy, observe(board)), -1, tf.int32), tf.constant(drawn), settings.limit)
        total += int(moved.reward[0])
        if bool(moved.done[0]):
            if total == settings.side**2 - 1:
                # The board is a new game's by now; the last fruit filled it.
                full = board.order[0].numpy()
                full[int(board.fruit[0])] = full.max() + 1
                pictures.append(picture(full, -1))
            break
        board = moved.board
        pictures.append(picture(board.order[0].numpy(), int(board.fruit[0])))
    return pictures, total


def picture(order: np.ndarray, fruit: int) -> Image.Image:
    """A board: the body in blue, paler to the tail, its head in green, the fruit in red."""
    side = round(len(order) ** 0.5)
    image = Image.new("RGB", (side * CELL + 1, side * CELL + 1), "white")
    pen = ImageDraw.Draw(image)
    for cell, place in enumerate(order):
        left, top = CELL * (cell % side), CELL * (cell // side)
        colour: tuple[int, ...] = ImageColor.getrgb(GREEN if place == order.max() else BLUE)
        strength = 0 if not place else 1 if place == order.max() else 0.3 + 0.7 * place / order.max()
        faded = tuple(round(255 + strength * (part - 255)) for part in colour)
        pen.rectangle((left, top, left + CELL, top + CELL), fill=faded, outline=FAINT)
        if cell == fruit and not place:
            pen.ellipse((left + 8, top + 8, left + CELL - 8, top + CELL - 8), fill=VERMILLION)
    return image.quantize(32)


def write_gif(pictures: Sequence[Image.Image], path: Path) -> None:
    """Writes an animated picture, five to a second and the last for two, at once or not at all."""
    shown = [200] * (len(pictures) - 1) + [2000]
    with atomic_file(path) as file:
        pictures[0].save(file, "GIF", save_all=True, append_images=list(pictures[1:]), duration=shown, loop=0)

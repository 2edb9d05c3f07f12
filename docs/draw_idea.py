"""The picture of the idea: python docs/draw_idea.py docs/images/idea.svg."""

from __future__ import annotations

import sys

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

INK, SHARED, OWN = "#747B84", "#1A7EC2", "#D55E00"  # legible on white and on dark pages


def matrix(panel: Axes, x: float, y: float, shape: tuple[int, int], colour: str, seed: int) -> None:
    """A matrix of squares of many shades; x and y of its middle."""
    rows, columns = shape
    shade = np.random.default_rng(seed).uniform(0.15, 0.95, shape)
    size = 0.28
    for row in range(rows):
        for column in range(columns):
            corner = (x + (column - columns / 2) * size, y + (rows / 2 - row - 1) * size)
            panel.add_patch(
                matplotlib.patches.Rectangle(
                    corner, size * 0.9, size * 0.9, color=colour, alpha=shade[row, column], lw=0
                )
            )


def main(path: str) -> None:
    """Draws it."""
    import matplotlib.patches

    matplotlib.rcParams["svg.hashsalt"] = "idea"
    matplotlib.rcParams["svg.fonttype"] = "none"
    figure = Figure(figsize=(9, 2.6), layout="constrained")
    figure.patch.set_alpha(0.0)
    panel = figure.add_subplot()
    panel.set(xlim=(0, 13.2), ylim=(-1.7, 2.0), aspect="equal")
    panel.axis("off")

    def say(x: float, y: float, text: str, colour: str = INK, size: float = 10.5) -> None:
        panel.text(x, y, text, ha="center", va="center", color=colour, fontsize=size)

    matrix(panel, 1.6, 0.3, (8, 8), INK, 0)
    matrix(panel, 4.6, 0.3, (8, 3), SHARED, 1)
    matrix(panel, 7.2, 0.3, (8, 3), SHARED, 2)
    matrix(panel, 9.25, 0.3, (3, 4), OWN, 3)
    matrix(panel, 11.9, 0.3, (8, 4), OWN, 4)
    for x, text in ((3.4, "x"), (5.85, "="), (8.2, "x"), (10.6, "=")):
        say(x, 0.3, text, size=14)
    say(1.6, 1.75, "replies, embedded")
    say(4.6, 1.75, "a basis for all", SHARED)
    say(7.2, 1.75, "rewards", SHARED)
    say(9.3, 1.75, "weights of users", OWN)
    say(11.9, 1.75, "own rewards", OWN)
    say(1.6, -1.25, "one table, as it comes")
    say(4.6, -1.25, "fitted together", SHARED)
    say(9.3, -1.25, "ten answers: a small\nconvex solve", OWN)
    say(11.9, -1.25, "which reply for whom", OWN)
    figure.savefig(path, metadata={"Date": None})


if __name__ == "__main__":
    main(sys.argv[1])

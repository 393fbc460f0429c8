"""Scenes of handwritten digits, and captions that tell a part of what they show.

A scene is a canvas of 4 × 4 cells. One digit is large (2 × 2 cells), one to four more are small
(one cell each). A caption names some of the digits, each with its rough place.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from sklearn.datasets import load_digits

CELLS, CELL = 4, 9  # a cell holds an 8 × 8 digit and one pixel of play
SIZE = CELLS * CELL
NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")

LARGE = ("large", "big", "huge")
SMALL = ("small", "little", "tiny")
ROWS = (("top", "upper"), ("middle",), ("bottom", "lower"))
COLUMNS = ("left", "middle", "right")
OPENINGS = ("", "there is ", "a picture with ", "a drawing of ", "this scene shows ")
JOINTS = (", ", " and ", " with ")
HEADINGS = ("", "somebody wrote: ", "one can see: ", "handwriting: ")


@dataclass(frozen=True)
class Digit:
    """One digit in a scene: which handwriting, which number, where (upper left cell), how big."""

    source: int
    number: int
    row: int
    column: int
    large: bool

    @property
    def place(self) -> tuple[int, int]:
        """Third of the canvas that it stands in, as (row, column) with 0, 1, 2."""
        thirds = (0, 1, 2) if self.large else (0, 1, 1, 2)
        return thirds[self.row], thirds[self.column]


Scene = tuple[Digit, ...]  # the large digit first


def split_handwriting(rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Deal the 1797 images of digits into three parts that share none."""
    order = rng.permutation(len(load_digits().target))
    parts = np.split(order, [1000, 1300])
    return dict(zip(("training", "fitting", "evaluation"), parts, strict=True))


def compose(
    rng: np.random.Generator, sources: np.ndarray, n_scenes: int
) -> tuple[np.ndarray, list[Scene]]:
    """Draw scenes from these images of digits: pixels (n, 36, 36) uint8, and what they show."""
    images, numbers = load_digits().images, load_digits().target
    pixels = np.zeros((n_scenes, SIZE, SIZE), dtype=np.uint8)
    scenes = []
    for canvas in pixels:
        chosen = rng.choice(sources, size=rng.integers(2, 6), replace=False)
        scene = _arrange(rng, [(int(source), int(numbers[source])) for source in chosen])
        for digit in scene:
            _draw(rng, canvas, images[digit.source], digit)
        scenes.append(scene)
    return pixels, scenes


def _arrange(rng: np.random.Generator, digits: list[tuple[int, int]]) -> Scene:
    """Give the first digit four cells, and each of the others one of those left."""
    top, left = (int(cell) for cell in rng.integers(0, CELLS - 1, size=2))
    free = [
        (row, column)
        for row in range(CELLS)
        for column in range(CELLS)
        if not (0 <= row - top < 2 and 0 <= column - left < 2)
    ]
    cells = rng.choice(free, size=len(digits) - 1, replace=False)
    return (
        Digit(*digits[0], row=top, column=left, large=True),
        *(
            Digit(*digit, row=int(row), column=int(column), large=False)
            for digit, (row, column) in zip(digits[1:], cells, strict=True)
        ),
    )


def _draw(rng: np.random.Generator, canvas: np.ndarray, image: np.ndarray, digit: Digit) -> None:
    """Put an 8 × 8 image (0 to 16) on the canvas (0 to 255), somewhere in its cells."""
    scale = 2 if digit.large else 1
    down, right = rng.integers(0, scale + 1, size=2)
    row, column = digit.row * CELL + down, digit.column * CELL + right
    ink = np.kron(image, np.ones((scale, scale))) * (255 / 16)
    canvas[row : row + 8 * scale, column : column + 8 * scale] = ink


@dataclass(frozen=True)
class Telling:
    """How much a caption tells: how many digits (one drawn for each), how often their places."""

    named: tuple[int, ...]
    placed: float


def describe(rng: np.random.Generator, scene: Scene, style: int, telling: Telling) -> str:
    """Write a caption in style 0 ("a six at the top") or 1 ("at the top six").

    Style 0 begins with the large digit and says that it is large; style 1 takes any order.
    """
    count = min(int(rng.choice(telling.named)), len(scene))
    order = rng.permutation(len(scene))
    if style == 0:
        order = np.r_[0, order[order > 0]]
    told = [(scene[i], rng.random() < telling.placed) for i in order[:count]]
    if style == 0:
        phrases = [_noun_first(rng, digit, placed) for digit, placed in told]
        return _pick(rng, OPENINGS) + _pick(rng, JOINTS).join(phrases)
    return _pick(rng, HEADINGS) + "; ".join(_place_first(rng, *both) for both in told)


def _noun_first(rng: np.random.Generator, digit: Digit, placed: bool) -> str:
    word = _number(rng, digit)
    size = _pick(rng, LARGE) if digit.large else _pick(rng, SMALL) if rng.random() < 0.2 else ""
    noun = f"{size} {word}" if size else word
    article = "an" if noun.startswith(("eight", "8")) else "a"
    return f"{article} {noun} {_place(rng, digit)}" if placed else f"{article} {noun}"


def _place_first(rng: np.random.Generator, digit: Digit, placed: bool) -> str:
    size = "" if rng.random() < 0.5 else _pick(rng, LARGE if digit.large else SMALL) + " "
    noun = size + _number(rng, digit)
    return f"{_place(rng, digit)} {noun}" if placed else noun


def _number(rng: np.random.Generator, digit: Digit) -> str:
    return NAMES[digit.number] if rng.random() < 0.7 else str(digit.number)


def _place(rng: np.random.Generator, digit: Digit) -> str:
    row, column = digit.place
    if (row, column) == (1, 1):
        return "in the " + _pick(rng, ("middle", "centre"))
    if row == 1:
        return _pick(rng, ("on the ", "at the ")) + COLUMNS[column]
    if column == 1:
        return _pick(rng, ("at the ", "in the middle at the ")) + ROWS[row][0]
    return _pick(rng, ("in the ", "at the ")) + _pick(rng, ROWS[row]) + " " + COLUMNS[column]


def _pick(rng: np.random.Generator, choices: tuple[str, ...]) -> str:
    return choices[int(rng.integers(len(choices)))]

"""Try parameters of an aligner on held-out pairs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from typing import Any

import numpy as np
from sklearn.base import clone

from fillgap.aligners.base import Aligner
from fillgap.aligners.methods import make_aligner, method_name
from fillgap.errors import CANNOT_RUN, InputError, check_choice
from fillgap.evaluation.judge import DIRECTIONS, PER_QUERY, aligned, fit_clone, scan_test_pair
from fillgap.evaluation.splits import held_out_splits
from fillgap.pair import EmbeddingPair
from fillgap.runtime import Progress, silent


@dataclass(frozen=True)
class GridPoint:
    """One combination of parameters, and what it reached on held-out rows."""

    parameters: Mapping[str, Any]
    values: Mapping[str, float]  # means by direction, and their "mean"; empty where the fit failed
    notes: tuple[str, ...] = ()  # what the fits remarked
    failure: str | None = None  # why the combination cannot be fitted to these data

    @property
    def label(self) -> str:
        """The combination as text."""
        return _label(self.parameters)


@dataclass(frozen=True)
class GridSearch:
    """All combinations of a grid, judged on the same held-out rows.

    Attributes
    ----------
    method, measure : str
        What was fitted, and what decides.
    points : tuple of GridPoint
        Best first; combinations that cannot be fitted come last.
    """

    method: str
    measure: str
    points: tuple[GridPoint, ...]

    @property
    def best(self) -> GridPoint:
        """The combination with the largest mean. Its value is optimistic: it was chosen by it."""
        if self.points[0].failure is not None:
            raise InputError(
                f"the grid must hold a combination that {self.method} can be fitted with, got "
                f"none: {self.points[0].failure}"
            )
        return self.points[0]

    def to_dict(self) -> dict[str, Any]:
        """Return everything as what JSON can hold."""
        return asdict(self)


def grid_search(
    pair: EmbeddingPair,
    aligner: str | Aligner,
    grid: Mapping[str, Sequence[Any]],
    *,
    measure: str = "mixed_recall_at_10",
    n_splits: int = 5,
    test_size: float = 0.5,
    max_test: int = 2000,
    random_state: int = 0,
    progress: Progress | None = None,
) -> GridSearch:
    """Fit every combination of parameters on one part of the images, and judge it on the other.

    The largest value is that of the best of many on these rows. To know what it is worth, compare
    it with other methods on rows that no combination was judged on. "Fill the Gap"
    (arXiv:2505.03703) chose η and α of optimal transport by such a search.

    Parameters
    ----------
    pair : EmbeddingPair
        Paired.
    aligner : str or Aligner
        A method or an aligner; its other parameters stay as they are.
    grid : mapping from str to sequence
        Values to try of each parameter: numbers, strings, booleans or None.
    measure : str
        A measure with one value a query, larger is better; the mean over both directions decides.
    n_splits, test_size, max_test, random_state
        As for `held_out_splits`.
    progress : callable, optional
        Called as progress(combinations done, combinations in all, the next combination).

    Returns
    -------
    GridSearch

    Raises
    ------
    InputError
        If the grid is empty or names an unknown parameter, or the sets are unpaired. A combination
        that cannot be fitted raises nothing: it is listed last.
    """
    base = make_aligner(aligner) if isinstance(aligner, str) else aligner
    check_choice(measure, "measure", tuple(name for name in PER_QUERY if "exposure" not in name))
    combinations = _combinations(base, grid)
    drawn = {"n_splits": n_splits, "max_test": max_test, "random_state": random_state}
    splits = list(held_out_splits(pair, test_size=test_size, **drawn))
    report = progress or silent
    points = []
    for number, parameters in enumerate(combinations):
        report(number, len(combinations), _label(parameters))
        candidate = clone(base).set_params(**parameters)
        points.append(_judge(pair, candidate, parameters, splits, measure))
    report(len(combinations), len(combinations), "done")
    points.sort(key=lambda point: point.values.get("mean", -np.inf), reverse=True)
    return GridSearch(method_name(base), measure, tuple(points))


def _combinations(base: Aligner, grid: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    known = base.get_params()
    for name, values in grid.items():
        if name not in known:
            raise InputError(
                f"a parameter of {method_name(base)} must be one of {', '.join(known)}, got "
                f"{name!r}. Check its spelling."
            )
        if isinstance(values, str) or not isinstance(values, Sequence) or not values:
            raise InputError(
                f"the grid must hold a sequence of values for {name}, got {values!r}. "
                "Pass a list with at least one value."
            )
    if not grid:
        raise InputError(
            "the grid must name at least one parameter, got none. Pass for example "
            "{'eta': [1, 10, 100]}."
        )
    return [dict(zip(grid, values, strict=True)) for values in product(*grid.values())]


def _judge(
    pair: EmbeddingPair,
    aligner: Aligner,
    parameters: dict[str, Any],
    splits: Sequence[tuple[Any, Any]],
    measure: str,
) -> GridPoint:
    """Fit on the one part of each split, and measure the other."""
    collected: dict[str, list[float]] = {direction: [] for direction in DIRECTIONS}
    notes: list[str] = []
    for train_rows, test_rows in splits:
        train, test = pair.take_images(train_rows), pair.take_images(test_rows)
        try:
            fitted = fit_clone(aligner, train)
            mapped = aligned(fitted, test)
        except CANNOT_RUN as error:
            return GridPoint(parameters, {}, failure=str(error))
        notes.extend(note for note in fitted.notes_ if note not in notes)
        scan = scan_test_pair(mapped)
        for direction, side in zip(
            DIRECTIONS, (scan.image_queries, scan.text_queries), strict=True
        ):
            collected[direction].append(float(np.nanmean(PER_QUERY[measure](side))))
    values = {direction: float(np.mean(means)) for direction, means in collected.items()}
    values["mean"] = float(np.mean(list(values.values())))
    return GridPoint(parameters, values, tuple(notes))


def _label(parameters: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={value}" for name, value in parameters.items())

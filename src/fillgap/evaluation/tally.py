"""What is combined, and what the splits gave each combination."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from fillgap.evaluation.judge import QueryValues

__all__ = ["Combination", "Tally"]


@dataclass(frozen=True, order=True)
class Combination:
    """Names of an aligner ("raw" for none) and of a calibration or fusion ("none" for neither)."""

    aligner: str = "raw"
    calibration: str = "none"

    def __str__(self) -> str:
        return (
            self.aligner if self.calibration == "none" else f"{self.aligner} + {self.calibration}"
        )


@dataclass
class Tally:
    """What the splits gave each combination.

    Attributes
    ----------
    values : dict from Combination to dict from (measure, direction) to QueryValues
    failures : dict from Combination to str
    n_fit, n_test : int
        Images fitted and tested on in the last split.
    fitted_on : str or None
        Name of the other data that everything was fitted on, where there were such.
    """

    values: dict[Combination, dict[tuple[str, str], QueryValues]] = field(default_factory=dict)
    failures: dict[Combination, str] = field(default_factory=dict)
    n_fit: int = 0
    n_test: int = 0
    fitted_on: str | None = None

    def keep_place(self, combinations: Iterable[Combination]) -> None:
        """List combinations in this order, in whatever order their values come."""
        for what in combinations:
            self.values.setdefault(what, {})

    def add(self, what: Combination, key: tuple[str, str], rows: Any, values: Any, n: int) -> None:
        """Add values of the queries in `rows`, of `n` in all."""
        self.values.setdefault(what, {}).setdefault(key, QueryValues(n)).add(rows, values)

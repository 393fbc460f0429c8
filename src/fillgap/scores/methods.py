"""The table of calibrations: their names on the command line and in files."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Final

from fillgap._checks import InputError
from fillgap.scores.base import Calibration
from fillgap.scores.hubness import CSLS, NNN, QBNorm
from fillgap.scores.own_list import QueryCentering, QueryStandardisation
from fillgap.scores.probability import RelevanceProbability
from fillgap.scores.quantiles import QuantileMap
from fillgap.scores.zscore import ZScore

__all__ = ["CALIBRATIONS", "calibration_name", "make_calibration"]

CALIBRATIONS: Final[dict[str, type[Calibration]]] = {
    "z-score": ZScore,
    "quantile-map": QuantileMap,
    "relevance-probability": RelevanceProbability,
    "nnn": NNN,
    "csls": CSLS,
    "qb-norm": QBNorm,
    "query-centering": QueryCentering,
    "query-standardisation": QueryStandardisation,
}


def make_calibration(name: str, **parameters: object) -> Calibration:
    """Return a new calibration of the kind called `name`.

    Raises
    ------
    InputError
        If there is no such kind or it has no such parameter; near names are offered.
    """
    if not isinstance(name, str) or name not in CALIBRATIONS:
        near = get_close_matches(str(name), CALIBRATIONS, n=3, cutoff=0.5)
        remedy = f"Did you mean {' or '.join(near)}?" if near else "Choose one of them."
        raise InputError(
            f"the calibration must be one of {', '.join(CALIBRATIONS)}, got {name!r}. {remedy}"
        )
    calibration = CALIBRATIONS[name]()
    known = calibration.get_params(deep=False)
    for parameter in parameters:
        if parameter not in known:
            raise InputError(
                f"a parameter of {name} must be one of {', '.join(known)}, got {parameter!r}. "
                "Check its spelling."
            )
    return calibration.set_params(**parameters)


def calibration_name(calibration: Calibration) -> str:
    """Return the name of a calibration's kind: its class name where the table has none."""
    for name, cls in CALIBRATIONS.items():
        if type(calibration) is cls:
            return name
    return type(calibration).__name__

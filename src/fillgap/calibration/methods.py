"""The table of calibrations: their names on the command line and in files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from sklearn.exceptions import NotFittedError

from fillgap.calibration.base import Calibration
from fillgap.calibration.hubness import CSLS, NNN, QBNorm
from fillgap.calibration.pairwise import ZScore
from fillgap.calibration.probability import QuantileMap, RelevanceProbability
from fillgap.calibration.query_list import QueryCentering, QueryStandardisation
from fillgap.errors import InputError, make_named
from fillgap.linalg import Array

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
    hint = "Choose one of them."
    return make_named(CALIBRATIONS, "calibration", name, parameters, otherwise=hint)


def calibration_name(calibration: Calibration) -> str:
    """Return the name of a calibration's kind: its class name where the table has none."""
    names = {cls: name for name, cls in CALIBRATIONS.items()}
    return names.get(type(calibration), type(calibration).__name__)


#: How many axes each array of a fit has.
_DIMENSIONS = {
    "bank": (2,), "mean": (0,), "deviation": (0,), "knots": (1,), "target": (1,), "curve": (1, 2),
    "fitted": (0,), "unjudged": (0,),
}  # fmt: skip


def calibration_state(calibration: Calibration) -> tuple[dict[str, Array], dict[str, Any]]:
    """Return the arrays and the description that `restore_calibration` needs, of a fitted one."""
    name = calibration_name(calibration)
    if name not in CALIBRATIONS:
        raise InputError(
            f"the calibration must be of a known kind, got {name}. Use one of "
            f"{', '.join(CALIBRATIONS)}."
        )
    if not hasattr(calibration, "fitted_"):
        raise NotFittedError(f"{name} must be fitted before it is saved. Call fit first.")
    arrays = dict(calibration.fitted_)
    parameters: dict[str, Any] = {}
    for key, value in calibration.get_params(deep=False).items():
        if isinstance(value, Calibration):
            first, parameters[key] = calibration_state(getattr(calibration, f"{key}_"))
            arrays.update({f"{key}.{name}": array for name, array in first.items()})
        else:
            parameters[key] = value.item() if isinstance(value, np.generic) else value
    n_features = calibration.n_features_in_
    return arrays, {"name": name, "parameters": parameters, "n_features": n_features}


def restore_calibration(arrays: Mapping[str, Array], state: Mapping[str, Any]) -> Calibration:
    """Return the calibration behind what `calibration_state` gave.

    KeyError, TypeError or ValueError says that something is missing or not of the expected kind.
    """
    calibration = make_calibration(state["name"])
    own = dict(arrays)
    parameters = dict(state["parameters"])
    for key, value in parameters.items():
        if isinstance(value, dict):
            prefix = f"{key}."
            inner = {n.removeprefix(prefix): own.pop(n) for n in list(own) if n.startswith(prefix)}
            first = restore_calibration(inner, value)
            setattr(calibration, f"{key}_", first)
            parameters[key] = make_calibration(value["name"], **first.get_params(deep=False))
    known = calibration.get_params(deep=False)
    if unknown := set(parameters) - set(known):
        raise KeyError(*sorted(unknown))
    calibration.set_params(**parameters)
    calibration.n_features_in_ = int(state["n_features"])
    if not all(np.isfinite(array).all() for array in own.values() if array.dtype.kind == "f"):
        raise ValueError("an array that is not finite")
    calibration._check_parameters()
    for name, array in own.items():  # refuse what no fit gives
        part = name.rpartition(".")[2]
        if array.ndim not in _DIMENSIONS[part] or not array.size:
            raise ValueError(f"{name} of shape {array.shape}")
        if part == "bank" and array.shape[1] != calibration.n_features_in_:
            raise ValueError(f"{name} of dimension {array.shape[1]}")
        if part == "deviation" and not array > 0:
            raise ValueError(f"{name} that is not positive")
    calibration.fitted_ = own
    return calibration

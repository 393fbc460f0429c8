"""The rules for input. A refusal reads "<what> must be <rule>, got <value>. <what to do>."."""

from __future__ import annotations

import importlib
import math
from collections.abc import Mapping
from difflib import get_close_matches
from types import ModuleType
from typing import Any, TypeVar

import numpy as np

Made = TypeVar("Made")

#: Below this, squares of float32 entries lose digits to underflow.
SMALLEST_NORM = 1e-15


class InputError(ValueError):
    """Input that breaks a stated rule; the message says which one and what to do."""


class InputTypeError(TypeError):
    """Input of the wrong kind; the message says which kind is needed."""


#: What a fit may raise because of the data, or because of what is not installed.
CANNOT_RUN = (InputError, ImportError, np.linalg.LinAlgError)


def as_array(value: Any, what: str) -> np.ndarray[Any, np.dtype[Any]]:
    """Return `value` as a NumPy array; rows of several lengths are none."""
    try:
        return np.asarray(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputTypeError(
            f"{what} must be an array of numbers, got {type(value).__name__} that is none. "
            "Give all rows one length."
        ) from error


def check_choice(value: object, what: str, choices: tuple[str, ...]) -> str:
    """Return `value` if it is one of `choices`; offer the choices otherwise."""
    if not isinstance(value, str) or value not in choices:
        listed = ", ".join(repr(choice) for choice in choices)
        raise InputError(f"{what} must be one of {listed}, got {value!r}. Choose one of them.")
    return value


def check_flag(value: object, what: str) -> bool:
    """Return `value` if it is true or false, and not merely something that counts as one."""
    if not isinstance(value, (bool, np.bool_)):
        raise InputTypeError(f"{what} must be True or False, got {value!r}. Choose one of them.")
    return bool(value)


def check_integer(value: object, what: str, *, low: int, high: int | None = None) -> int:
    """Return `value` as an int in [low, high]."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise InputTypeError(f"{what} must be an integer, got {value!r}. Pass a whole number.")
    number = int(value)
    if number < low or (high is not None and number > high):
        rule = f"at least {low}" if high is None else f"between {low} and {high}"
        raise InputError(f"{what} must be {rule}, got {number}. Choose a value in that range.")
    return number


def check_real(
    value: object,
    what: str,
    *,
    low: float = -math.inf,
    high: float = math.inf,
    open_low: bool = False,
    open_high: bool = False,
) -> float:
    """Return `value` as a finite float between `low` and `high` (bounds excluded where open)."""
    if isinstance(value, bool) or not isinstance(value, (int, float, np.integer, np.floating)):
        raise InputTypeError(f"{what} must be a number, got {value!r}. Pass a real number.")
    try:
        number = float(value)
    except OverflowError:  # a whole number beyond all floats
        number = math.inf if value > 0 else -math.inf
    below = number <= low if open_low else number < low
    above = number >= high if open_high else number > high
    if not math.isfinite(number) or below or above:
        left = f"{'greater than' if open_low else 'at least'} {low:g}" if low > -math.inf else ""
        right = f"{'less than' if open_high else 'at most'} {high:g}" if high < math.inf else ""
        endless = math.isinf(number) and not (below or above)  # within bounds that are none
        parts = ["finite"] * endless + [part for part in (left, right) if part]
        rule = " and ".join(parts) or "finite"
        raise InputError(f"{what} must be {rule}, got {number:g}. Choose a value in that range.")
    return number


def check_random_state(value: Any, what: str = "random_state") -> np.random.Generator:
    """Return the generator that `value` seeds: an integer from 0 on, a generator, or None."""
    if value is None or isinstance(value, np.random.Generator):
        return np.random.default_rng(value)
    return np.random.default_rng(check_integer(value, what, low=0))


def check_matrix(X: Any, what: str, *, min_rows: int = 1) -> Any:
    """Return `X` as a 2-D floating array (of PyTorch or CuPy, as it is); refuse every other kind.

    The values are not read: `unit_rows` finds NaN, infinities and zero rows with the norms.
    """
    foreign = type(X).__module__.partition(".")[0] in {"torch", "cupy"}
    array = X if foreign else as_array(X, what)
    if isinstance(array, np.ndarray) and array.dtype.kind != "f":
        kind = "objects" if array.dtype.kind == "O" else str(array.dtype)
        raise InputTypeError(
            f"{what} must be floating point numbers, got {kind}. "
            "Convert them with .astype('float32'), or check that this is the embedding array."
        )
    shape = tuple(int(size) for size in array.shape)
    if len(shape) != 2:
        raise InputError(
            f"{what} must be 2-D with one embedding a row, got {len(shape)}-D of shape {shape}. "
            "Reshape it to (n_samples, n_features)."
        )
    if shape[0] < min_rows:
        raise InputError(
            f"{what} must be at least {min_rows} row{'s' * (min_rows > 1)}, got {shape[0]}. "
            "Check that the file is complete."
        )
    if shape[1] < 2:
        raise InputError(
            f"{what} must be of at least 2 dimensions, got {shape[1]}. "
            "Check that this is the embedding array."
        )
    return array


def unit_rows(X: Any, what: str, *, first_row: int = 0) -> Any:
    """Return the rows of `X` scaled to length one, as float32 or float64.

    Refuses the first row without direction: NaN, infinity or zero. `first_row` is that of a block.
    """
    rows, scales = row_scales(X, what, first_row=first_row)
    if rows is X:
        return rows * scales[:, None]
    rows *= scales[:, None]  # a copy already
    return rows


def row_scales(X: Any, what: str, *, first_row: int = 0) -> tuple[Any, Any]:
    """Return the rows as float32 or float64, and the factor that gives each row length one.

    Nothing is copied where the type is float32 or float64 already. Raises as `unit_rows` does.
    """
    from array_api_compat import array_namespace

    xp = array_namespace(X)
    rows = X if X.dtype in (xp.float32, xp.float64) else xp.astype(X, xp.float32)
    norms = row_norms(rows)
    usable = xp.isfinite(norms) & (norms > SMALLEST_NORM)
    if not bool(xp.all(usable)):
        finite = xp.all(xp.isfinite(rows), axis=1)
        largest = xp.max(xp.abs(rows), axis=1)
        for bad, rule, got in (
            (~finite, "finite numbers", "NaN or infinity"),
            (largest == 0, "non-zero", "all zeros"),
        ):
            if bool(xp.any(bad)):
                row = first_row + int(xp.argmax(xp.astype(bad, xp.int32)))
                total = int(xp.sum(xp.astype(bad, xp.int32)))
                raise InputError(
                    f"{what} must be {rule} in every row, got {got} in row {row} "
                    f"({total} such row{'s' * (total > 1)} in this block). "
                    "Remove those rows, and look for a failed encoding."
                )
        rows = rows / largest[:, None]  # their squares left the range of the type
        norms = row_norms(rows)
    return rows, 1 / norms


def row_norms(rows: Any) -> Any:
    """Return the Euclidean length of each row."""
    if isinstance(rows, np.ndarray):  # a third of the time of the generic form: no n × d temporary
        with np.errstate(over="ignore"):
            return np.sqrt(np.vecdot(rows, rows))
    from array_api_compat import array_namespace

    xp = array_namespace(rows)
    return xp.sqrt(xp.sum(rows * rows, axis=1))


def check_same_features(X: Any, Y: Any, what_x: str = "images", what_y: str = "texts") -> None:
    """Refuse two sets whose embeddings have different dimensions."""
    if X.shape[1] != Y.shape[1]:
        raise InputError(
            f"{what_x} and {what_y} must be of one dimension, got {X.shape[1]} and {Y.shape[1]}. "
            "Use embeddings of one model, after its projection layers."
        )


def check_same_count(X: Any, Y: Any, why: str) -> None:
    """Refuse two sets of different sizes where row i must belong to row i."""
    if X.shape[0] != Y.shape[0]:
        raise InputError(
            f"images and texts must be pairs (row i belongs to row i) {why}, "
            f"got {X.shape[0]} images and {Y.shape[0]} texts. "
            "Pass the index of each text's image, or use what needs no pairs."
        )


def require(module: str, extra: str, purpose: str) -> ModuleType:
    """Import an optional dependency, or say in one sentence how to install it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(
            f"{purpose} needs {module.partition('.')[0]}, which is not installed. "
            f"Run: pip install 'fillgap[{extra}]'"
        ) from error


def make_named(
    table: Mapping[str, type[Made]],
    what: str,
    name: object,
    parameters: Mapping[str, object],
    *,
    otherwise: str,
) -> Made:
    """Return a new estimator of a table by its name, or offer near names."""
    if not isinstance(name, str) or name not in table:
        near = get_close_matches(str(name), table, n=3, cutoff=0.5)
        remedy = f"Did you mean {' or '.join(near)}?" if near else otherwise
        raise InputError(f"the {what} must be one of {', '.join(table)}, got {name!r}. {remedy}")
    made: Any = table[name]()
    known = made.get_params(deep=False)
    for parameter in parameters:
        if parameter not in known:
            raise InputError(
                f"a parameter of {name} must be one of {', '.join(known)}, got {parameter!r}. "
                "Check its spelling."
            )
    made.set_params(**parameters)
    return made

"""Several calibrations of the same sample, each score computed once."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from typing import Any, TypeAlias

from sklearn.base import clone

from fillgap._checks import CANNOT_RUN, InputError, InputTypeError
from fillgap._progress import silent
from fillgap.scores.base import Calibration
from fillgap.scores.pairwise import PairwiseCalibration, add_to_all, samples_of
from fillgap.scores.samples import Relevant, Sides, check_samples

__all__ = ["fit_together"]

#: What came of a calibration.
_Fitted: TypeAlias = Calibration | Exception


def fit_together(
    calibrations: Mapping[str, Calibration],
    queries: Sides,
    documents: Sides,
    *,
    relevant: Relevant | None = None,
) -> dict[str, Calibration | Exception]:
    """Return clones of calibrations fitted to one sample, as `fit` would fit each.

    Scores are computed once for all that look at the same ones, and a calibration that several are
    applied after is fitted once: they share it, so that none of them should be fitted further.

    Parameters
    ----------
    calibrations : mapping from name to Calibration
    queries, documents, relevant
        As for `Calibration.fit`.

    Returns
    -------
    dict from name to Calibration or Exception
        What a fit raised because of the data stands in the place of its calibration.
    """
    if not isinstance(calibrations, Mapping):
        raise InputTypeError(
            f"calibrations must be a mapping from names, got {type(calibrations).__name__}. "
            "Pass for example {'nnn': NNN()}."
        )
    for name, calibration in calibrations.items():
        if not isinstance(calibration, Calibration):
            raise InputTypeError(
                f"calibrations must be calibrations by name, got {calibration!r} as {name!r}. "
                "Pass for example {'nnn': NNN()}."
            )
    done: dict[Hashable, _Fitted] = {}
    levels: dict[int, dict[Hashable, Calibration]] = {}
    for calibration in calibrations.values():
        for depth, part in enumerate(reversed(list(_chain(calibration)))):
            levels.setdefault(depth, {}).setdefault(_key(part), part)
    for depth in sorted(levels):
        groups: dict[Hashable, dict[Hashable, PairwiseCalibration]] = {}
        for key, part in levels[depth].items():
            if key in done:
                continue
            if isinstance(part, PairwiseCalibration) and _is_shared(part):
                after = None if part.after is None else _key(part.after)
                groups.setdefault(after, {})[key] = clone(part)
            else:
                done[key] = _alone(part, queries, documents, relevant)
        for after, members in groups.items():
            first = None if after is None else done[after]
            done |= _fit_group(members, first, queries, documents, relevant or {})
    return {name: done[_key(calibration)] for name, calibration in calibrations.items()}


def _chain(calibration: Calibration) -> Iterator[Calibration]:
    """Yield a calibration, what it is applied after, and so on."""
    yield calibration
    if isinstance(calibration, PairwiseCalibration) and _is_shared(calibration):
        yield from () if calibration.after is None else _chain(calibration.after)


def _is_shared(calibration: PairwiseCalibration) -> bool:
    """Return whether it is fitted as all are: a class with a fit of its own is left to it."""
    own = type(calibration)
    return (
        own.fit is Calibration.fit
        and own._learn is PairwiseCalibration._learn
        and isinstance(calibration.after, Calibration | None)
    )


def _key(calibration: Calibration) -> Hashable:
    """Return what is equal for calibrations of one kind with equal parameters."""
    found: list[Any] = [type(calibration)]
    for name, value in sorted(calibration.get_params(deep=False).items()):
        found.append((name, _key(value) if isinstance(value, Calibration) else value))
    try:
        hash(tuple(found))
    except TypeError:
        return id(calibration)
    return tuple(found)


def _alone(
    calibration: Calibration, queries: Sides, documents: Sides, relevant: Relevant | None
) -> _Fitted:
    try:
        return clone(calibration).fit(queries, documents, relevant=relevant)
    except CANNOT_RUN as error:
        return error


def _fit_group(
    members: dict[Hashable, PairwiseCalibration],
    first: _Fitted | None,
    queries: Sides,
    documents: Sides,
    relevant: Relevant,
) -> dict[Hashable, _Fitted]:
    """Fit calibrations that are applied after the same one, which is fitted."""
    if isinstance(first, Exception):
        return dict.fromkeys(members, first)
    done: dict[Hashable, _Fitted] = {}
    try:
        queries, documents, n_features = check_samples(queries, documents, None)
    except InputError as refused:
        return dict.fromkeys(members, refused)
    for key, member in members.items():
        if first is not None:
            member.after_ = first
        if (error := _raised(member._begin, n_features, relevant)) is not None:
            done[key] = error
    for sample in samples_of(queries, documents, relevant, first, silent):
        streamed: dict[Hashable, PairwiseCalibration] = {}
        for key, member in members.items():
            if key in done:
                continue
            in_stream = type(member)._add is PairwiseCalibration._add
            error = _raised(member._check if in_stream else member._add, sample)
            if error is not None:
                done[key] = error
            elif in_stream:
                streamed[key] = member
        error = _raised(add_to_all, list(streamed.values()), sample) if streamed else None
        done |= dict.fromkeys(streamed, error) if error is not None else {}
    for key, member in members.items():
        if key not in done:
            done[key] = _raised(member._solve) or member
    return done


def _raised(function: Any, *arguments: Any) -> Exception | None:
    try:
        function(*arguments)
    except CANNOT_RUN as error:
        return error
    return None

"""Which aligner and which calibration, chosen together, with what each of them adds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from sklearn.base import clone

from fillgap._checks import (
    InputError,
    InputTypeError,
    check_integer,
    check_matrix,
    check_random_state,
    check_real,
    row_scales,
)
from fillgap._device import to_host
from fillgap._progress import Progress, silent
from fillgap.aligners import Aligner, make_aligner, method_name
from fillgap.embeddings import EmbeddingPair
from fillgap.evaluation.combine import judge_all
from fillgap.evaluation.estimates import Estimate
from fillgap.evaluation.leaderboard import Leaderboard, image_means, interval
from fillgap.evaluation.one_split import (
    aligned_sides,
    asked_sides,
    fit_clone,
    relevant_rows,
    sample_rows,
)
from fillgap.evaluation.space_choice import (
    SpaceRecommendation,
    choose,
    sentence_of,
    steps_of,
)
from fillgap.evaluation.tally import Combination, Tally
from fillgap.scores import (
    NNN,
    Calibration,
    QuantileMap,
    QueryCentering,
    QueryStandardisation,
    Sides,
    ZScore,
)
from fillgap.space import MixedSpace

__all__ = ["ALIGNERS", "SpaceRecommendation", "calibrations_to_try", "recommend"]

#: What is tried where nobody asks for more: quick, unpaired, and one of each kind.
ALIGNERS: Final = ("balanced", "mean-centering", "spectral")


def calibrations_to_try() -> dict[str, Calibration | None]:
    """Return the calibrations that need no judgements, by name, and "none"."""
    return {
        "none": None,
        "z-score": ZScore(),
        "z-score on all": ZScore(on="all"),
        "quantile-map": QuantileMap(),
        "nnn": NNN(),
        "z-score after nnn": ZScore(after=NNN()),
        "z-score on all after nnn": ZScore(on="all", after=NNN()),
        "quantile-map after nnn": QuantileMap(after=NNN()),
        "query-centering": QueryCentering(after=ZScore(on="all", after=NNN(k=4))),
        "query-standardisation": QueryStandardisation(after=NNN()),
    }


def recommend(
    pair: EmbeddingPair,
    *,
    queries: Sides | None = None,
    aligners: Sequence[str | Aligner] | None = None,
    calibrations: Mapping[str, Calibration | None] | None = None,
    fit_on: EmbeddingPair | None = None,
    n_splits: int = 4,
    test_size: float = 0.5,
    max_test: int = 1000,
    max_loss: float = 0.02,
    n_resamples: int = 1000,
    model: str | None = None,
    random_state: int = 0,
    progress: Progress | None = None,
) -> SpaceRecommendation:
    """Choose an aligner and a calibration together, on held-out data.

    In every split all combinations are fitted on one part of the images and judged on the other.
    The choice is made by the queries of one half of the images; the figures are those of the other
    half, which had no part in it.

    Parameters
    ----------
    pair : EmbeddingPair
        Paired; two texts an image or more make two-sided figures possible.
    queries : Sides, optional
        Sample queries as the model gives them, unpaired: a query log. Calibrations are fitted with
        them; left out, or of a modality that is None, with at most 4096 rows of that side that
        aligners are fitted on.
    aligners : sequence of str or Aligner, optional
        Left out: `ALIGNERS`.
    calibrations : mapping from name to Calibration, optional
        Left out: `calibrations_to_try()`.
    fit_on : EmbeddingPair, optional
        Data of another collection to fit on, paired or not. All figures are then of what was fitted
        there, and the advice says so, and what that costs.
    n_splits, test_size, max_test
        As for `held_out_splits`.
    max_loss : float
        Largest loss of recall@1 among the other modality alone.
    n_resamples : int
        Bootstrap resamples over images.
    model : str, optional
        Name of the model, kept with the space.
    random_state : int
        Seed of everything.
    progress : callable, optional
        Called as progress(fits done, fits in all, aligner).

    Raises
    ------
    InputError
        If the sets are unpaired, too small, or of another dimension than `queries` or `fit_on`, or
        if `fit_on` is the collection itself.
    """
    check_real(max_loss, "max_loss", low=0)
    check_integer(n_resamples, "n_resamples", low=100)
    _check_extra(pair, queries, fit_on)
    named = _named(aligners)
    scored = calibrations_to_try() if calibrations is None else dict(calibrations)
    options: dict[str, Any] = {
        "queries": queries,
        "n_splits": n_splits,
        "test_size": test_size,
        "max_test": max_test,
        "random_state": random_state,
    }
    report = progress or silent
    tally = judge_all(
        pair,
        {"raw": None, **named},
        {"none": None, **scored},
        fit_on=fit_on,
        progress=report,
        **options,
    )
    half = check_random_state(random_state).permutation(pair.n_images) % 2 == 0
    boards = [
        Leaderboard.from_tally(
            pair, tally, images=part, n_resamples=n_resamples, random_state=random_state
        )
        for part in (half, ~half)
    ]
    chosen, passed_over = choose(boards[0], max_loss)
    steps = steps_of(boards[1], chosen)
    kind = None
    if fit_on is not None and chosen is not None:
        own = judge_all(
            pair,
            {chosen.aligner: {"raw": None, **named}[chosen.aligner]},
            {chosen.calibration: {"none": None, **scored}[chosen.calibration]},
            progress=report,
            **options,
        )
        kind = _change(
            pair,
            own,
            tally,
            chosen,
            objective=boards[0].objective,
            n_resamples=n_resamples,
            random_state=random_state,
        )
    return SpaceRecommendation(
        chosen=chosen,
        space=_space(
            pair if fit_on is None else fit_on,
            queries,
            chosen,
            aligners=named,
            calibrations=scored,
            model=model,
        ),
        objective=boards[0].objective,
        sentence=sentence_of(
            chosen,
            steps,
            passed_over,
            max_loss=max_loss,
            kind=kind,
            fit_on=fit_on,
            board=boards[0],
        ),
        steps=steps,
        leaderboard=boards[0],
        passed_over=passed_over,
        fitted_on=None if fit_on is None else fit_on.name,
        other_kind=kind,
    )


def _named(aligners: Sequence[str | Aligner] | None) -> dict[str, Aligner]:
    if isinstance(aligners, (str, Aligner)):
        aligners = [aligners]
    found: dict[str, Aligner] = {}
    for item in ALIGNERS if aligners is None else aligners:
        aligner = make_aligner(item) if isinstance(item, str) else item
        name = method_name(aligner)
        found[name if name not in found else repr(aligner)] = aligner
    return found


def _check_extra(pair: EmbeddingPair, queries: Sides | None, fit_on: EmbeddingPair | None) -> None:
    if queries is not None and not (isinstance(queries, tuple) and len(queries) == 2):
        raise InputTypeError(
            f"queries must be Sides(images, texts), got {type(queries).__name__}. "
            "Pass None for a modality of which there are none."
        )
    named = zip(("image queries", "text queries"), queries or (), strict=False)
    others = [
        (what, check_matrix(side, what, min_rows=2)) for what, side in named if side is not None
    ]
    others += [] if fit_on is None else [("the data to fit on", fit_on.images)]
    for what, rows in others:
        if rows.shape[1] != pair.n_features:
            raise InputError(
                f"{what} must be of dimension {pair.n_features}, as the collection, got "
                f"{rows.shape[1]}. Use embeddings of one model."
            )
        if what.endswith("queries"):
            row_scales(rows, what)
    if fit_on is not None and np.array_equal(to_host(fit_on.images), to_host(pair.images)):
        raise InputError(
            f"the data to fit on must be others than the collection, got the same images "
            f"({fit_on.name}). Leave them out: everything is fitted on one part and judged on the "
            "other."
        )


def _change(
    pair: EmbeddingPair,
    own: Tally,
    other: Tally,
    what: Combination,
    *,
    objective: str,
    n_resamples: int,
    random_state: int,
) -> Estimate | None:
    """Return what fitting to the collection itself adds, over images."""
    if what not in own.values:
        return None
    ours, theirs = (image_means(pair, part.values[what])[objective] for part in (own, other))
    return interval(ours - theirs, n_resamples=n_resamples, random_state=random_state)


def _space(
    data: EmbeddingPair,
    queries: Sides | None,
    chosen: Combination | None,
    *,
    aligners: Mapping[str, Aligner],
    calibrations: Mapping[str, Calibration | None],
    model: str | None,
) -> MixedSpace:
    """Fit what was chosen to all rows."""
    if chosen is None:
        return MixedSpace(n_features=data.n_features, model=model)
    aligner = None if chosen.aligner == "raw" else fit_clone(aligners[chosen.aligner], data)
    calibration = calibrations.get(chosen.calibration)
    if calibration is not None:
        samples = [sample_rows(side) for side in (data.images, data.texts)]
        documents = aligned_sides(aligner, data.images[samples[0]], data.texts[samples[1]])
        asked = asked_sides(aligner, queries, documents)
        relevant = relevant_rows(data, samples) if queries is None else None
        calibration = clone(calibration).fit(asked, documents, relevant=relevant)
    return MixedSpace(aligner, calibration, n_features=data.n_features, model=model)

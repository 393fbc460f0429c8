"""Which combination to use, or none, and the sentence that says so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from sklearn.base import clone

from fillgap.aligners.base import Aligner
from fillgap.calibration.base import Calibration, Sides
from fillgap.calibration.hubness import NNN
from fillgap.calibration.pairwise import ZScore
from fillgap.calibration.probability import QuantileMap
from fillgap.calibration.query_list import QueryCentering, QueryStandardisation
from fillgap.errors import (
    InputError,
    InputTypeError,
    check_integer,
    check_matrix,
    check_random_state,
    check_real,
    row_scales,
)
from fillgap.evaluation.combine import (
    aligned_sides,
    asked_sides,
    judge_all,
    relevant_rows,
    sample_rows,
)
from fillgap.evaluation.compare import FAIR_EXPOSURE, LABELS, SEEN, named_aligners, objection
from fillgap.evaluation.judge import fit_clone
from fillgap.evaluation.leaderboard import (
    Combination,
    Leaderboard,
    Line,
    image_means,
    interval,
)
from fillgap.evaluation.statistics import Estimate, paired_permutation_test
from fillgap.pair import EmbeddingPair
from fillgap.runtime import Progress, silent, to_host
from fillgap.space import MixedSpace

#: A gain that is kept only where it is sure.
_LITTLE: Final = 0.005


@dataclass(frozen=True, eq=False)
class SpaceRecommendation:
    """What to use, fitted, and the held-out evidence for it.

    Attributes
    ----------
    chosen : Combination or None
        None means to leave the embeddings as they are.
    space : MixedSpace
        Fitted to all rows; of the raw embeddings where nothing is recommended.
    objective : str
        The measure that was ranked by: two-sided NDCG@10 where enough images have several
        texts, and mixed NDCG@10 otherwise.
    sentence : str
        The advice with its numbers.
    steps : tuple of Line
        Raw, with the aligner, with the calibration too: what each step reaches, on images that
        had no part in the choice.
    leaderboard : Leaderboard
        Every combination on the images that were chosen by.
    passed_over : mapping from Combination to str
        What scored higher, and why it was not chosen.
    fitted_on : str or None
        The name of the other data that everything was fitted on, where there were such: all figures
        are of maps and calibrations from there.
    other_kind : Estimate or None
        Where other data were fitted on: what fitting to this collection would add.
    """

    chosen: Combination | None
    space: MixedSpace
    objective: str
    sentence: str
    steps: tuple[Line, ...]
    leaderboard: Leaderboard
    passed_over: Mapping[Combination, str]
    fitted_on: str | None
    other_kind: Estimate | None

    def to_dict(self) -> dict[str, Any]:
        """Return everything but the space as JSON can hold it."""
        return {
            "chosen": None if self.chosen is None else vars(self.chosen) | {},
            "fingerprint": self.space.fingerprint,
            "objective": self.objective,
            "sentence": self.sentence,
            "steps": [line.to_dict() for line in self.steps],
            "passed_over": {str(name): why for name, why in self.passed_over.items()},
            "fitted_on": self.fitted_on,
            "other_kind": None if self.other_kind is None else self.other_kind.to_dict(),
            "leaderboard": self.leaderboard.to_dict(),
        }


def choose(
    board: Leaderboard, max_loss: float, *, fair: bool = True
) -> tuple[Combination | None, dict[Combination, str]]:
    """Return the best that is fair, costs little and surely gains, and what was passed over.

    Of an aligner and a calibration both should add something: where what they add to one of them
    alone is little and may be chance, and that one may be chosen, it is. Exposure need not be fair
    where each item is in the pool once, as whatever it is: no score can be had by showing one kind
    first.
    """
    passed_over: dict[Combination, str] = {}
    for line in board.lines:
        if line.what == Combination():
            break  # nothing below gains
        reason = _objection(board, line, max_loss, fair=fair)
        if reason is not None:
            passed_over[line.what] = reason
            continue
        halves = {Combination("raw", line.what.calibration), Combination(line.what.aligner)}
        for half in [] if Combination() in halves else board.lines:  # the better one first
            allowed = half.what in halves and (_objection(board, half, max_loss, fair=fair) is None)
            if allowed and _adds_nothing_sure(board, line.what, half.what):
                label = LABELS[board.objective]
                passed_over[line.what] = f"what it adds to {half.what} in {label} may be chance"
                return half.what, passed_over
        return line.what, passed_over
    return None, passed_over


def _adds_nothing_sure(board: Leaderboard, what: Combination, to: Combination) -> bool:
    gain = board.values[what][board.objective] - board.values[to][board.objective]
    gain = gain[np.isfinite(gain)]
    return bool(gain.mean() < _LITTLE) and paired_permutation_test(gain) >= 0.05


def _objection(board: Leaderboard, line: Line, max_loss: float, *, fair: bool) -> str | None:
    loss = line.changes.get("recall_at_1")
    return objection(
        board.objective,
        line.changes[board.objective],
        p_value=line.p_values[board.objective],
        exposure=line.exposure if fair else {},
        loss=0.0 if loss is None else -loss.value,
        max_loss=max_loss,
        tell_p=True,
    )


def _sentence(
    chosen: Combination | None,
    steps: tuple[Line, ...],
    passed_over: Mapping[Combination, str],
    *,
    max_loss: float,
    kind: Estimate | None,
    fit_on: EmbeddingPair | None,
    board: Leaderboard,
) -> str:
    """Return the recommendation in words, with what each step adds and what it costs."""
    elsewhere = ""
    if fit_on is not None:
        sizes = f"{fit_on.n_images} images, {fit_on.n_texts} texts"
        elsewhere = f"These are figures of fits to other data ({fit_on.name}: {sizes})"
    above = next(iter(passed_over.items()), None)
    if chosen is None:
        best = (
            "nothing scores higher than raw" if len(board.lines) > 1 else "nothing else could run"
        )
        if above is not None:
            best = f"{above[0]} scores highest, but {above[1]}"
        advice = f"Leave the embeddings as they are: {best} (max_loss is {max_loss:g})."
        return f"{advice} {elsewhere}." if elsewhere else advice
    measure = board.objective
    path = " → ".join(f"{line.estimates[measure].value:.2f} ({line.what})" for line in steps)
    last = steps[-1]
    recall, cost = last.estimates["recall_at_1"], last.changes["recall_at_1"]
    text = (
        f"Use {chosen}: {LABELS[measure]} goes {path}, {last.changes[measure].signed}; "
        f"recall@1 within the other modality is {recall.value:.2f} ({cost.signed})."
    )
    if above is not None:
        text += f" {above[0]} scored higher where this was chosen, but {above[1]}."
    low, high = FAIR_EXPOSURE
    for whose, seen in last.exposure.items():
        if not low <= seen.value <= high:
            text += f" Here {SEEN[whose].format(f'{seen.value:.2f}')}."
    if elsewhere:
        own = "" if kind is None else f": fitted on this collection it would gain {kind.signed}"
        text += f" {elsewhere}{own}."
    return text


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
    named = named_aligners(aligners, ALIGNERS)
    scored = calibrations_to_try() if calibrations is None else dict(calibrations)
    options: dict[str, Any] = {
        "queries": queries,
        "n_splits": n_splits,
        "test_size": test_size,
        "max_test": max_test,
        "random_state": random_state,
    }
    tries = {"raw": None, **named}, {"none": None, **scored}
    report = progress or silent
    tally = judge_all(pair, *tries, fit_on=fit_on, progress=report, **options)
    half = check_random_state(random_state).permutation(pair.n_images) % 2 == 0
    resampled = {"n_resamples": n_resamples, "random_state": random_state}
    board, judged = (
        Leaderboard.from_tally(pair, tally, images=part, **resampled) for part in (half, ~half)
    )
    chosen, passed_over = choose(board, max_loss)
    names, kind = [Combination()], None
    if chosen is not None:
        names += [Combination(chosen.aligner), chosen]
        if fit_on is not None:
            alone = (
                {chosen.aligner: tries[0][chosen.aligner]},
                {chosen.calibration: tries[1][chosen.calibration]},
            )
            own = judge_all(pair, *alone, progress=report, **options)
            if chosen in own.values:
                ours, theirs = (
                    image_means(pair, part.values[chosen])[board.objective] for part in (own, tally)
                )
                kind = interval(ours - theirs, **resampled)
    steps = tuple(judged.line(name) for name in dict.fromkeys(names))
    fitted_to = pair if fit_on is None else fit_on
    return SpaceRecommendation(
        chosen=chosen,
        space=_space(fitted_to, queries, chosen, aligners=named, calibrations=scored, model=model),
        objective=board.objective,
        sentence=_sentence(
            chosen, steps, passed_over, max_loss=max_loss, kind=kind, fit_on=fit_on, board=board
        ),
        steps=steps,
        leaderboard=board,
        passed_over=passed_over,
        fitted_on=None if fit_on is None else fit_on.name,
        other_kind=kind,
    )


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

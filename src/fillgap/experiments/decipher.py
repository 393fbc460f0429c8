"""Tables 1 to 3 of "Decipher the Modality Gap" (arXiv:2510.03268) for any embeddings.

The paper fits every method to the data that it is judged on. The same is done here, and beside it,
where asked for, the honest way: fitted to one part of the images and judged on the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, TypeAlias, TypeVar

import numpy as np

from fillgap._checks import InputError, check_real
from fillgap._progress import Progress, silent
from fillgap.aligners import (
    Aligner,
    BalancedAligner,
    DimensionRemoval,
    HyperplaneRotation,
    SharedSpaceProjection,
    Translation,
    matching_translation,
)
from fillgap.datasets import ClassPrompts
from fillgap.embeddings import EmbeddingPair
from fillgap.evaluation import held_out_splits, zero_shot
from fillgap.experiments.decipher_results import METHODS, PAPER_ENERGY, Cell, Decipher
from fillgap.metrics import centroid_distance, gap_angle, recall_at_k, scan_pool

__all__ = ["METHODS", "Cell", "Decipher", "reproduce_decipher"]

#: Shares of the energy that are tried in turn: the paper's own first.
ENERGIES: Final = (PAPER_ENERGY, 0.999, 0.9999, 0.99999)

#: From measure to degrees or percent.
Measured: TypeAlias = dict[str, float]
Fitted = TypeVar("Fitted", bound=Aligner)


def reproduce_decipher(
    pair: EmbeddingPair,
    *,
    prompts: ClassPrompts | None = None,
    held_out: bool = False,
    energy: float | None = None,
    tolerance: float = 1e-3,
    n_splits: int = 5,
    random_state: int = 0,
    progress: Progress | None = None,
) -> Decipher:
    """Fill the paper's three tables from embeddings.

    Every method is fitted to the images and texts of `pair`. Dimension removal drops as many
    dimensions as the projection does, translation takes the least λ of two decimals whose gap
    angle is below the projection's.

    Parameters
    ----------
    pair : EmbeddingPair
        Paired for table 3; with `labels` where there are prompts.
    prompts : ClassPrompts, optional
        For tables 1 and 2. They are mapped as texts.
    held_out : bool
        Fit to one part of the images with their texts, judge on the other, `n_splits` times.
        The default judges on what was fitted, as the paper does.
    energy : float or None
        Share of the energy that spans a subspace, for projection and rotation. None: the paper's
        .99, and more nines where the projection would keep less than a third of either modality's
        variance (chosen on the images fitted on first).
    tolerance : float
        Of `SharedSpaceProjection`.
    n_splits, random_state : int
        As for `held_out_splits`.
    progress : callable, optional
        Called as progress(done, total, what).

    Raises
    ------
    InputError
        If there are neither pairs nor prompts, or prompts without labels, or held-out rows are
        asked for of unpaired sets. A method that cannot run is listed with the reason instead.
    """
    check_real(tolerance, "tolerance", low=0, high=1, open_high=True)
    _check_data(pair, prompts)
    parts = [(pair, pair)]
    if held_out:
        splits = held_out_splits(pair, n_splits=n_splits, random_state=random_state)
        parts = [(pair.take_images(train), pair.take_images(test)) for train, test in splits]
    if energy is None:
        energy = _sufficient_energy(parts[0][0], tolerance)
    report = progress or silent
    found = _Found()
    for number, (fitted, judged) in enumerate(parts):
        report(number, len(parts), "fit and judge")
        methods = _fit_methods(fitted, energy, tolerance, found)
        for name in METHODS:
            if name in methods:
                found.judge(name, methods[name], judged, prompts)
    report(len(parts), len(parts), "done")
    return Decipher(
        data=pair.name,
        n_images=pair.n_images,
        n_texts=pair.n_texts,
        n_features=pair.n_features,
        n_splits=len(parts) if held_out else 0,
        energy=energy,
        zero_shot=found.averages("zero_shot"),
        retrieval=found.averages("retrieval"),
        choices=_averages(found.choices),
        failures=found.failures,
        notes=tuple(dict.fromkeys(found.notes)),
    )


def _check_data(pair: EmbeddingPair, prompts: ClassPrompts | None) -> None:
    """Refuse data that fill none of the tables."""
    if prompts is None and not pair.is_paired:
        raise InputError(
            "images and texts must be paired, or come with labels and class prompts, got neither. "
            "The tables are of retrieval and of zero-shot classification."
        )
    if prompts is not None and pair.labels is None:
        raise InputError(
            "labels of the images must be given with class prompts, got none. "
            "Pass them, or leave out the prompts."
        )


def _sufficient_energy(pair: EmbeddingPair, tolerance: float) -> float:
    """Return the least share of the energy at which a third of the variance is shared."""
    for energy in ENERGIES:
        shared = SharedSpaceProjection(energy=energy, tolerance=tolerance)
        try:
            _Found().fit(shared, pair)
        except InputError:  # nothing is shared
            continue
        projection, _ = shared.map_x_.folded(pair.n_features)
        scatters = shared.moments_.x.scatter, shared.moments_.y.scatter
        if all(3 * np.sum(projection * scatter) >= np.trace(scatter) for scatter in scatters):
            return energy
    return PAPER_ENERGY


class _Found:
    """What the parts gave: measures by table and method, choices, failures, notes."""

    def __init__(self) -> None:
        self.rows: dict[tuple[str, str], list[Measured]] = {}
        self.choices: list[Measured] = []
        self.failures: dict[str, str] = {}
        self.notes: list[str] = []

    def fit(self, aligner: Fitted, pair: EmbeddingPair) -> Fitted:
        """Fit an aligner, and keep its remarks as notes."""
        aligner.fit(pair.images, pair.texts)
        self.notes.extend(aligner.notes_)
        return aligner

    def judge(
        self,
        name: str,
        aligner: Aligner | None,
        pair: EmbeddingPair,
        prompts: ClassPrompts | None,
    ) -> None:
        """Measure a method for every table that the data fill, or keep why it cannot be."""
        rows: dict[str, Measured] = {}
        try:
            if prompts is not None:
                rows["zero_shot"] = _zero_shot_row(aligner, pair, prompts)
            if pair.is_paired:
                rows["retrieval"] = _retrieval_row(aligner, pair)
        except InputError as error:
            if aligner is None:  # not the method but the data are at fault
                raise
            self.failures[name] = str(error)
        for table, row in rows.items():
            self.rows.setdefault((table, name), []).append(row)

    def averages(self, table: str) -> dict[str, Measured]:
        """Return a table, averaged over the parts, of the methods that never failed."""
        return {
            name: _averages(rows)
            for (of, name), rows in self.rows.items()
            if of == table and name not in self.failures
        }


def _averages(rows: Sequence[Measured]) -> Measured:
    names = rows[0] if rows else {}
    return {name: float(np.mean([row[name] for row in rows])) for name in names}


def _fit_methods(
    pair: EmbeddingPair, energy: float, tolerance: float, found: _Found
) -> dict[str, Aligner | None]:
    """Fit all methods; without a shared space those that are matched to it are left out."""
    methods: dict[str, Aligner | None] = {
        "raw": None,
        "hyperplane-rotation": found.fit(HyperplaneRotation(energy=energy), pair),
        "balanced": found.fit(BalancedAligner(), pair),
    }
    sides = pair.images, pair.texts
    shared = SharedSpaceProjection(energy=energy, tolerance=tolerance)
    try:
        found.fit(shared, pair)
        angle = np.radians(gap_angle(*shared.transform_pair(*sides)))
    except InputError as error:
        found.failures["shared-space-projection"] = str(error)
        reason = "it is matched to the shared space projection, which cannot run."
        found.failures |= {"translation": reason, "dimension-removal": reason}
        return methods
    n_removed = pair.n_features - shared.overlap_
    amount = matching_translation(*sides, angle=float(angle))
    choice = {"n_shared": shared.overlap_, "n_removed": n_removed, "amount": amount}
    found.choices.append(choice)
    matched = {
        "shared-space-projection": shared,
        "dimension-removal": found.fit(DimensionRemoval(n_removed=n_removed), pair),
        "translation": found.fit(Translation(amount=amount), pair),
    }
    return methods | matched


def _zero_shot_row(aligner: Aligner | None, pair: EmbeddingPair, prompts: ClassPrompts) -> Measured:
    classified = zero_shot(
        pair.images, np.asarray(pair.labels), prompts.texts, prompts.labels, aligner=aligner
    )
    sides = pair.images, prompts.texts
    accuracy = {f"top_{k}": 100 * item.value for k, item in classified.accuracy.items()}
    return _gap(*(sides if aligner is None else aligner.transform_pair(*sides))) | accuracy


def _retrieval_row(aligner: Aligner | None, pair: EmbeddingPair) -> Measured:
    if aligner is not None:
        pair = pair.with_vectors(*aligner.transform_pair(pair.images, pair.texts))
    row = _gap(pair.images, pair.texts)
    scan = scan_pool(pair, n_neighbors=1, n_own=1)
    found = {k: recall_at_k(scan, k=k) for k in (1, 5, 10)}
    for direction in ("image_to_text", "text_to_image"):
        for k, recall in found.items():
            row[f"{direction}_recall_at_{k}"] = 100 * getattr(recall, direction)
    return row


def _gap(X: Any, Y: Any) -> Measured:
    return {"gap_angle": gap_angle(X, Y), "centroid_distance": centroid_distance(X, Y)}

"""Tables 1 to 3 of "Decipher the Modality Gap" (arXiv:2510.03268), printed and reproduced.

Angles in degrees, all else in percent. The printed cells are of CLIP on public benchmarks.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np

from fillgap.aligners.balanced import BalancedAligner
from fillgap.aligners.base import Aligner
from fillgap.aligners.centring import DimensionRemoval, Translation, matching_translation
from fillgap.aligners.subspace import HyperplaneRotation, SharedSpaceProjection
from fillgap.datasets.scenes import ClassPrompts
from fillgap.errors import InputError, check_choice, check_real
from fillgap.evaluation.splits import held_out_splits
from fillgap.evaluation.zero_shot import zero_shot
from fillgap.metrics.geometry import centroid_distance, gap_angle
from fillgap.metrics.retrieval import recall_at_k
from fillgap.metrics.scan import scan_pool
from fillgap.pair import EmbeddingPair
from fillgap.runtime import Progress, silent

#: From measure to degrees or percent, and from method to that.
Measured: TypeAlias = Mapping[str, float]
Measures: TypeAlias = Mapping[str, Measured]

MODELS: Final = ("B/32", "L/14")
DATASETS: Final = ("CIFAR10", "CIFAR100", "ImageNet")
#: The one model and data set of table 3.
RETRIEVAL_COLUMN: Final = ("L/14", "MSCOCO")

ZERO_SHOT_MEASURES: Final = ("gap_angle", "top_1", "top_5")
RETRIEVAL_MEASURES: Final = (
    "gap_angle",
    *(f"image_to_text_recall_at_{k}" for k in (1, 5, 10)),
    *(f"text_to_image_recall_at_{k}" for k in (1, 5, 10)),
)

#: What spans a subspace in the paper, and the shares of the energy that are tried in turn.
PAPER_ENERGY: Final = 0.99
ENERGIES: Final = (PAPER_ENERGY, 0.999, 0.9999, 0.99999)

#: The methods of the paper's tables, and beside them the rotation that it proves without trying
#: it, and the balanced aligner.
METHODS: Final = (
    "raw",
    "translation",
    "dimension-removal",
    "shared-space-projection",
    "hyperplane-rotation",
    "balanced",
)

_ZERO_SHOT: Final = {
    ("B/32", "CIFAR10"): (
        (74.69, 89.00, 99.36), (7.02, 80.97, 96.09), (72.50, 14.91, 56.22), (5.37, 86.43, 99.27),
    ),
    ("B/32", "CIFAR100"): (
        (74.19, 65.23, 88.88), (30.50, 54.46, 77.25), (73.16, 6.44, 16.82), (30.39, 64.51, 88.79),
    ),
    ("B/32", "ImageNet"): (
        (71.02, 63.34, 88.82), (51.68, 60.37, 86.93), (69.71, 49.50, 78.55), (50.40, 62.45, 88.41),
    ),
    ("L/14", "CIFAR10"): (
        (77.63, 95.12, 99.46), (14.73, 92.39, 98.97), (79.36, 12.23, 62.33), (13.27, 95.12, 99.46),
    ),
    ("L/14", "CIFAR100"): (
        (77.13, 78.44, 94.02), (38.68, 71.13, 87.56), (80.71, 9.57, 23.64), (37.73, 77.72, 93.99),
    ),
    ("L/14", "ImageNet"): (
        (77.29, 75.56, 94.58), (62.61, 74.05, 94.10), (76.84, 67.04, 89.76), (62.40, 75.26, 94.51),
    ),
}  # fmt: skip
_RETRIEVAL: Final = (
    (78.16, 56.06, 79.56, 86.84, 35.33, 59.96, 70.21),
    (68.49, 54.14, 78.32, 86.30, 35.13, 59.79, 69.85),
    (76.03, 49.56, 73.42, 82.18, 31.23, 54.29, 65.00),
    (68.06, 55.54, 78.94, 86.64, 35.22, 59.86, 70.22),
)


def printed_zero_shot(model: str, dataset: str) -> Measures:
    """Return the cells of tables 1 and 2 for one model and data set, by method and measure."""
    check_choice(model, "model", MODELS)
    check_choice(dataset, "dataset", DATASETS)
    return _named(_ZERO_SHOT[model, dataset], ZERO_SHOT_MEASURES)


def printed_retrieval() -> Measures:
    """Return the cells of table 3, by method and measure."""
    return _named(_RETRIEVAL, RETRIEVAL_MEASURES)


def _named(rows: tuple[tuple[float, ...], ...], measures: tuple[str, ...]) -> Measures:
    return {
        method: dict(zip(measures, row, strict=True))
        for method, row in zip(METHODS, rows, strict=False)
    }


@dataclass(frozen=True)
class Cell:
    """What was found, and what is printed for another model or other data."""

    found: float  # degrees or percent
    printed: float | None  # None where the paper has no such cell

    @property
    def difference(self) -> float | None:
        """Found less printed."""
        return None if self.printed is None else self.found - self.printed

    def to_dict(self) -> dict[str, float | None]:
        """Return it as JSON can hold it."""
        return {"found": self.found, "printed": self.printed, "difference": self.difference}


@dataclass(frozen=True, eq=False)
class Decipher:
    """The three tables for one set of embeddings: from method to measure to number."""

    data: str
    n_images: int
    n_texts: int
    n_features: int
    n_splits: int  # held-out splits; 0 where methods were judged on what they were fitted to
    energy: float  # share that spans a subspace
    zero_shot: Measures  # gap angle and centroid distance to the prompts, top 1 and top 5
    retrieval: Measures  # gap angle, centroid distance, recall at 1, 5 and 10 both ways
    choices: Measured  # `n_shared` and `n_removed` dimensions, `amount` of the translation
    failures: Mapping[str, str]  # methods that cannot run on these data, with the reason
    notes: tuple[str, ...]  # what fits remarked

    def zero_shot_cells(self, model: str, dataset: str) -> dict[str, dict[str, Cell]]:
        """Return tables 1 and 2, each cell beside the one printed for a model and a data set."""
        return _beside(self.zero_shot, printed_zero_shot(model, dataset))

    def retrieval_cells(self) -> dict[str, dict[str, Cell]]:
        """Return table 3, each cell beside the printed one."""
        return _beside(self.retrieval, printed_retrieval())

    def to_dict(self, model: str, dataset: str) -> dict[str, Any]:
        """Return everything as JSON can hold it, with the cells printed for a model and data."""
        plain = {
            name: {
                method: {measure: cell.to_dict() for measure, cell in row.items()}
                for method, row in table.items()
            }
            for name, table in (
                ("zero_shot", self.zero_shot_cells(model, dataset)),
                ("retrieval", self.retrieval_cells()),
            )
        }
        return {**vars(self), **plain, "model": model, "dataset": dataset}


def _beside(found: Measures, printed: Measures) -> dict[str, dict[str, Cell]]:
    return {
        method: {
            measure: Cell(value, printed.get(method, {}).get(measure))
            for measure, value in row.items()
        }
        for method, row in found.items()
    }


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
    parts = [(pair, pair)]
    if held_out:
        splits = held_out_splits(pair, n_splits=n_splits, random_state=random_state)
        parts = [(pair.take_images(train), pair.take_images(test)) for train, test in splits]
    if energy is None:
        energy = _sufficient_energy(parts[0][0], tolerance)
    report = progress or silent
    tables: dict[str, dict[str, list[Measured]]] = {"zero_shot": {}, "retrieval": {}}
    choices: list[Measured] = []
    failures: dict[str, str] = {}
    notes: list[str] = []
    for number, (fitted, judged) in enumerate(parts):
        report(number, len(parts), "fit and judge")
        methods, choice, reasons = _fit_methods(fitted, energy, tolerance)
        if choice:
            choices.append(choice)
        failures |= reasons
        notes += [note for aligner in methods.values() if aligner for note in aligner.notes_]
        for name in (name for name in METHODS if name in methods):
            try:
                for table, row in _judge(methods[name], judged, prompts):
                    tables[table].setdefault(name, []).append(row)
            except InputError as error:
                if name == "raw":  # not the method but the data are at fault
                    raise
                failures[name] = str(error)
    report(len(parts), len(parts), "done")
    averages = {
        table: {name: _average(of) for name, of in rows.items() if name not in failures}
        for table, rows in tables.items()
    }
    return Decipher(
        data=pair.name,
        n_images=pair.n_images,
        n_texts=pair.n_texts,
        n_features=pair.n_features,
        n_splits=len(parts) if held_out else 0,
        energy=energy,
        **averages,
        choices=_average(choices),
        failures=failures,
        notes=tuple(dict.fromkeys(notes)),
    )


def _sufficient_energy(pair: EmbeddingPair, tolerance: float) -> float:
    """Return the least share of the energy at which a third of the variance is shared."""
    for energy in ENERGIES:
        shared = SharedSpaceProjection(energy=energy, tolerance=tolerance)
        try:
            shared.fit(pair.images, pair.texts)
        except InputError:  # nothing is shared
            continue
        projection, _ = shared.map_x_.folded(pair.n_features)
        scatters = shared.moments_.x.scatter, shared.moments_.y.scatter
        if all(3 * np.sum(projection * scatter) >= np.trace(scatter) for scatter in scatters):
            return energy
    return PAPER_ENERGY


def _fit_methods(
    pair: EmbeddingPair, energy: float, tolerance: float
) -> tuple[dict[str, Aligner | None], Measured, dict[str, str]]:
    """Return the fitted methods, what the rules chose, and why others could not be fitted.

    Without a shared space those that are matched to it are left out.
    """
    sides = pair.images, pair.texts
    methods: dict[str, Aligner | None] = {
        "raw": None,
        "hyperplane-rotation": HyperplaneRotation(energy=energy).fit(*sides),
        "balanced": BalancedAligner().fit(*sides),
    }
    try:
        shared = SharedSpaceProjection(energy=energy, tolerance=tolerance).fit(*sides)
        angle = np.radians(gap_angle(*shared.transform_pair(*sides)))
    except InputError as error:
        reason = "it is matched to the shared space projection, which cannot run."
        matched = {"translation": reason, "dimension-removal": reason}
        return methods, {}, {"shared-space-projection": str(error)} | matched
    n_removed = pair.n_features - shared.overlap_
    amount = matching_translation(*sides, angle=float(angle))
    methods |= {
        "shared-space-projection": shared,
        "dimension-removal": DimensionRemoval(n_removed=n_removed).fit(*sides),
        "translation": Translation(amount=amount).fit(*sides),
    }
    choice = {"n_shared": shared.overlap_, "n_removed": n_removed, "amount": amount}
    return methods, choice, {}


def _judge(
    aligner: Aligner | None, pair: EmbeddingPair, prompts: ClassPrompts | None
) -> Iterator[tuple[str, Measured]]:
    """Yield (table, measures) of a method for every table that the data fill."""
    if prompts is not None:
        classified = zero_shot(
            pair.images, np.asarray(pair.labels), prompts.texts, prompts.labels, aligner=aligner
        )
        sides = pair.images, prompts.texts
        accuracy = {f"top_{k}": 100 * item.value for k, item in classified.accuracy.items()}
        moved = sides if aligner is None else aligner.transform_pair(*sides)
        yield "zero_shot", _gap(*moved) | accuracy
    if pair.is_paired:
        if aligner is not None:
            pair = pair.with_vectors(*aligner.transform_pair(pair.images, pair.texts))
        row = _gap(pair.images, pair.texts)
        scan = scan_pool(pair, n_neighbors=1, n_own=1)
        recalls = {k: recall_at_k(scan, k=k) for k in (1, 5, 10)}
        for direction in ("image_to_text", "text_to_image"):
            for k, recall in recalls.items():
                row[f"{direction}_recall_at_{k}"] = 100 * getattr(recall, direction)
        yield "retrieval", row


def _gap(X: Any, Y: Any) -> dict[str, float]:
    return {"gap_angle": gap_angle(X, Y), "centroid_distance": centroid_distance(X, Y)}


def _average(rows: Sequence[Measured]) -> dict[str, float]:
    names = rows[0] if rows else {}
    return {name: float(np.mean([row[name] for row in rows])) for name in names}

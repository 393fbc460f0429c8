"""What is exported of a space: one affine map for each modality and role, between two normings."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import NotFittedError

from fillgap.aligners.base import Aligner
from fillgap.aligners.methods import method_name
from fillgap.calibration.base import MODALITIES, Modality, check_modality
from fillgap.calibration.hubness import NNN
from fillgap.calibration.pairwise import PairwiseCalibration
from fillgap.errors import InputError, InputTypeError, check_choice
from fillgap.maps import AffineMap
from fillgap.space import MixedSpace

Array = NDArray[np.float64]
Role = Literal["document", "query"]
ROLES: tuple[Role, Role] = ("document", "query")


@dataclass(frozen=True, eq=False)
class Bank:
    """Reference queries; documents that are near to many of them score less (NNN)."""

    rows: Array  # of shape (n_bank, n_components), unit rows
    k: int  # how many of the largest products with a document count, at most n_bank
    weight: float  # what their mean is multiplied by before it is subtracted
    apart: bool  # whether a reference query that is the document itself does not count


@dataclass(frozen=True, eq=False)
class RowMap:
    """Rows to slope · u, with u = normalise((x / ‖x‖ − center) · matrix + offset), and `extra`.

    That last coordinate, lowered by what u is to the bank, makes inner products calibrated scores.
    Parts that are None do nothing.
    """

    n_features: int
    n_components: int
    center: Array | None = None
    matrix: Array | None = None
    offset: Array | None = None
    slope: float | None = None
    extra: float | None = None
    bank: Bank | None = None

    @property
    def n_outputs(self) -> int:
        """Dimension of what comes out, with the extra coordinate where there is one."""
        return self.n_components + (self.extra is not None)


def as_space(source: MixedSpace | Aligner) -> MixedSpace:
    """Return a space: `source` itself, or that of a fitted aligner, whose maps are affine."""
    if isinstance(source, Aligner) and not hasattr(source, "n_features_in_"):
        raise NotFittedError(
            f"{type(source).__name__} must be fitted before it is exported. Call fit first."
        )
    if not isinstance(source, MixedSpace | Aligner):
        raise InputTypeError(
            f"what is exported must be a MixedSpace or a fitted aligner, got "
            f"{type(source).__name__}. Load it with load_space."
        )
    aligner = source if isinstance(source, Aligner) else source.aligner
    if aligner is not None and not aligner.linear:
        remedy = "Use a method that is."
        if hasattr(aligner, "extension"):
            remedy = "Fit it with extension='affine'."
        raise InputError(
            "the aligner must be an affine map for each modality to be exported, got "
            f"{method_name(aligner)}, which looks up the nearest row of its fit. {remedy}"
        )
    return MixedSpace(source) if isinstance(source, Aligner) else source


def row_map(
    space: MixedSpace,
    modality: Modality,
    *,
    role: Role = "document",
    queries: Modality | None = None,
) -> RowMap:
    """Return the map of rows of one modality in one role.

    With `queries` it has the coordinate of the calibration for queries of this modality: documents
    become `space.stored`, queries become `space.asked`. For a query it must be its own modality.
    """
    check_modality(modality)
    check_choice(role, "role", ROLES)
    aligner, affine = space.aligner, AffineMap()
    if aligner is not None:
        affine = aligner.map_x_ if modality == "image" else aligner.map_y_
    center = affine.center
    shift = query_shift(space, modality) if role == "query" else None
    if shift is not None:
        center = shift if center is None else center + shift
    aligned = RowMap(space.n_features, space.n_components, center, affine.matrix, affine.offset)
    if queries is None:
        return aligned
    check_modality(queries)
    if role == "query":
        if queries != modality:
            raise InputError(
                f"queries must be {modality!r} for {modality} queries, got {queries!r}. "
                "Leave it out, or name the modality of these rows."
            )
        return replace(aligned, slope=1.0, extra=1.0)
    slope, extra, bank = _coefficients(space, document=modality, query=queries)
    return replace(aligned, slope=slope, extra=extra, bank=bank)


def query_shift(space: MixedSpace, modality: Modality) -> Array | None:
    """Return how far the mean query lies from the mean document; None where both are one map."""
    mean = space.query_means.of(modality)
    if mean is None or space.aligner is None:
        return None
    at = space.aligner.mean_x_ if modality == "image" else space.aligner.mean_y_
    return np.asarray(mean - at, dtype=np.float64)


def calibrated_pairs(space: MixedSpace) -> list[tuple[Modality, Modality]]:
    """Return the (query, document) modalities that the calibration of a space was fitted for."""
    calibration, pairs = space.calibration, list(product(MODALITIES, MODALITIES))
    return [] if calibration is None else [p for p in pairs if calibration.is_fitted_for(*p)]


def _coefficients(
    space: MixedSpace, *, document: Modality, query: Modality
) -> tuple[float, float, Bank | None]:
    """Return a and b of calibrated score = a · cosine + b, and what b is lowered by."""
    calibration = space.calibration
    if calibration is None:
        return 1.0, 0.0, None
    first = calibration
    while isinstance(first, PairwiseCalibration) and first.after is not None:
        first = first.after_
    if calibration.needs_documents and not (calibration.folds and isinstance(first, NNN)):
        name = type(calibration).__name__
        remedy = (
            "Keep vectors of space.stored in the index"
            if calibration.folds
            else "Apply space.calibrate to a longer list of hits, choose one that folds (fillgap "
            "recommend --folds)"
        )
        raise InputError(
            f"the calibration must be one map for all documents to be exported, or one after NNN, "
            f"got {name}, whose map is another for each document or list. {remedy}, or export the "
            "space without its calibration."
        )
    probe = np.eye(1, space.n_components)
    a, b = (
        float(part[0]) for part in calibration.coefficients(probe, document=document, query=query)
    )
    if not isinstance(first, NNN):
        return a, b, None
    weight = a * first.alpha
    rows = np.asarray(first.fitted_[f"{query}.bank"], dtype=np.float64)
    bank = Bank(rows, min(first.k, len(rows)), weight, apart=query == document)
    return a, b + a * float(first.biases(probe, document=document, query=query)[0]), bank

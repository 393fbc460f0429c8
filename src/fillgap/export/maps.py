"""What is exported of a space: one affine map for each modality and role, between two normings."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

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

Array: TypeAlias = NDArray[np.float64]
Role = Literal["document", "query"]
ROLES: tuple[Role, Role] = ("document", "query")


@dataclass(frozen=True, eq=False)
class Bank:
    """Reference queries; documents that are near to many of them score less (NNN).

    Attributes
    ----------
    rows : array of shape (n_bank, n_components)
        Unit rows.
    k : int
        How many of the largest products with a document count, at most n_bank.
    weight : float
        What their mean is multiplied by; the product is subtracted.
    apart : bool
        Whether a reference query that is the document itself does not count.
    """

    rows: Array
    k: int
    weight: float
    apart: bool


@dataclass(frozen=True, eq=False)
class RowMap:
    """Rows to unit rows u = normalise((x / ‖x‖ − center) · matrix + offset), and then slope · u.

    Attributes
    ----------
    n_features, n_components : int
        Dimension of x and of u.
    center, matrix, offset : array or None
        Of shapes (n_features,), (n_features, n_components) and (n_components,); None does nothing.
    slope, extra : float or None
        Where they are given, slope · u is followed by the coordinate `extra`: inner products are
        then calibrated scores.
    bank : Bank or None
        Where it is given, it lowers `extra` by what u is to it.
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
    """Return a space: `source` itself, or that of a fitted aligner, whose maps are affine.

    Raises
    ------
    InputTypeError
        If `source` is neither.
    NotFittedError
        If the aligner is not fitted.
    InputError
        If the aligner is no affine map.
    """
    if isinstance(source, Aligner):
        if not hasattr(source, "n_features_in_"):
            raise NotFittedError(
                f"{type(source).__name__} must be fitted before it is exported. Call fit first."
            )
        _check_linear(source)
        return MixedSpace(source)
    if not isinstance(source, MixedSpace):
        raise InputTypeError(
            f"what is exported must be a MixedSpace or a fitted aligner, got "
            f"{type(source).__name__}. Load it with load_space."
        )
    if source.aligner is not None:
        _check_linear(source.aligner)
    return source


def row_map(
    space: MixedSpace,
    modality: Modality,
    *,
    role: Role = "document",
    queries: Modality | None = None,
) -> RowMap:
    """Return the map of rows of one modality in one role.

    Parameters
    ----------
    space : MixedSpace
    modality : {"image", "text"}
        Of the rows.
    role : {"document", "query"}
        What the rows are in a search.
    queries : {"image", "text"}, optional
        Add the coordinate of the calibration for queries of this modality: documents become
        `space.stored`, queries become `space.asked`. For a query it must be its own modality.

    Raises
    ------
    InputError
        If a word is none of these, or the calibration has no such coordinate.
    """
    check_modality(modality)
    check_choice(role, "role", ROLES)
    aligner = space.aligner
    map_ = AffineMap()
    if aligner is not None:
        map_ = aligner.map_x_ if modality == "image" else aligner.map_y_
    center = map_.center
    shift = query_shift(space, modality) if role == "query" else None
    if shift is not None:
        center = shift if center is None else center + shift
    found = RowMap(space.n_features, space.n_components, center, map_.matrix, map_.offset)
    if queries is None:
        return found
    check_modality(queries)
    if role == "query":
        if queries != modality:
            raise InputError(
                f"queries must be {modality!r} for {modality} queries, got {queries!r}. "
                "Leave it out, or name the modality of these rows."
            )
        return replace(found, slope=1.0, extra=1.0)
    slope, extra, bank = _coefficients(space, document=modality, query=queries)
    return replace(found, slope=slope, extra=extra, bank=bank)


def query_shift(space: MixedSpace, modality: Modality) -> Array | None:
    """Return how far the mean query lies from the mean document; None where both are one map."""
    mean = space.query_means.of(modality)
    if mean is None or space.aligner is None:
        return None
    at = space.aligner.mean_x_ if modality == "image" else space.aligner.mean_y_
    return np.asarray(mean - at, dtype=np.float64)


def calibrated_pairs(space: MixedSpace) -> list[tuple[Modality, Modality]]:
    """Return the (query, document) modalities that the calibration of a space was fitted for."""
    if space.calibration is None:
        return []
    return [
        (query, document)
        for query in MODALITIES
        for document in MODALITIES
        if space.calibration.is_fitted_for(query, document)
    ]


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


def _check_linear(aligner: Aligner) -> None:
    if aligner.linear:
        return
    name = method_name(aligner)
    remedy = (
        "Fit it with extension='affine'."
        if hasattr(aligner, "extension")
        else "Use a method that is."
    )
    raise InputError(
        f"the aligner must be an affine map for each modality to be exported, got {name}, which "
        f"looks up the nearest row of its fit. {remedy}"
    )

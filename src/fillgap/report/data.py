"""All that a report shows, computed once; every renderer reads this and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from fillgap.evaluation.compare import Comparison
from fillgap.metrics.verdict import Measurements

Array: TypeAlias = NDArray[np.float64]
Modality: TypeAlias = Literal["image", "text"]
#: What the embeddings as they are are called; other labels are methods of aligners.
RAW = "raw"


@dataclass(frozen=True)
class ShownAligner:
    """The aligner that the report shows, and what it did to rows that it was judged on."""

    name: str  # its method
    parameters: Mapping[str, Any]  # those that are not the defaults
    sentence: str  # why this one, what it was fitted to, and what it is shown on
    before: Measurements  # of the same rows as `after`
    after: Measurements


@dataclass(frozen=True, eq=False)
class ProjectedPair:
    """The rows of a representation that are drawn, in two dimensions: arrays of shape (n, 2)."""

    label: str
    images: Array
    texts: Array
    axes: tuple[str, str]  # what they are


@dataclass(frozen=True, eq=False)
class Projection:
    """One way to look at all dimensions in two: "PCA", "UMAP" or "PaCMAP"."""

    name: str
    pairs: tuple[ProjectedPair, ...]  # raw first; each has its own projection


@dataclass(frozen=True, eq=False)
class Similarities:
    """How alike pairs are, against all combinations of an image and a text."""

    label: str
    edges: Array  # cosines between which is counted, the same for all representations
    pairs: Array  # share of the pairs in each bin
    combinations: Array  # share of all combinations in each bin
    pairs_mean: float
    combinations_mean: float
    better: float  # share of combinations that a pair exceeds: 0.5 is chance, 1 is perfect


@dataclass(frozen=True, eq=False)
class Subspaces:
    """Spectra of both modalities, and the angles between their subspaces beside those of chance."""

    label: str
    n_images: int
    n_texts: int
    images_spectrum: Array  # share of the variance of each principal axis
    texts_spectrum: Array
    angles: Array  # principal angles in degrees, smallest first
    random_low: Array  # of simulated random subspaces of the same sizes
    random_mean: Array
    random_high: Array
    sentence: str  # whether the modalities collapsed into different subspaces
    warning: str | None  # why that is not to be trusted, where rows are few


@dataclass(frozen=True)
class Item:
    """What a list of results shows of an item."""

    modality: Modality
    name: str  # its identifier, or which row it is
    caption: str | None = None
    picture: bytes | None = None  # a small PNG file

    @property
    def words(self) -> str:
        """Return the caption, or else the name."""
        return self.caption or self.name

    def to_dict(self) -> dict[str, str | None]:
        """Return it without its picture."""
        return {"modality": self.modality, "name": self.name, "caption": self.caption}


@dataclass(frozen=True)
class Hit:
    """One result of a query."""

    item: Item
    cosine: float
    is_own: bool  # belongs to the query


@dataclass(frozen=True)
class Query:
    """A query and its nearest items in the mixed pool, for each representation."""

    item: Item
    hits: Mapping[str, tuple[Hit, ...]]


@dataclass(frozen=True)
class Usage:
    """How to use the aligner: lines for a shell, and lines of Python that do the same."""

    commands: tuple[str, ...]
    python: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class ReportData:
    """A report without its looks.

    Attributes
    ----------
    measured : Measurements
        Of all rows, or of those drawn: the verdict, faults and notes.
    version : str
        Of fillgap.
    random_state : int
        Seed of everything drawn.
    sampling : str or None
        Which rows were drawn, where there were too many.
    shown : ShownAligner or None
        The aligner and its measures; None where there is none to show.
    comparison : Comparison or None
        Of methods on held-out rows.
    projections : tuple of Projection
    missing_projections : str or None
        What could not be drawn, and how to install it.
    similarities : tuple of Similarities
    subspaces : tuple of Subspaces
    queries : tuple of Query
    usage : Usage or None
    left_out : mapping from section to str
        Why a section is not there: "comparison", "measures", "similarities", "subspaces", "all".
    """

    measured: Measurements
    version: str
    random_state: int
    sampling: str | None = None
    shown: ShownAligner | None = None
    comparison: Comparison | None = None
    projections: tuple[Projection, ...] = ()
    missing_projections: str | None = None
    similarities: tuple[Similarities, ...] = ()
    subspaces: tuple[Subspaces, ...] = ()
    queries: tuple[Query, ...] = ()
    usage: Usage | None = None
    left_out: Mapping[str, str] = field(default_factory=dict)

"""All that a report shows, computed once; every renderer reads this and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from fillgap.evaluation.compare import Comparison
from fillgap.metrics.verdict import Measurements

Array = NDArray[np.float64]
Modality: TypeAlias = Literal["image", "text"]


@dataclass(frozen=True)
class ShownAligner:
    """The aligner that the report shows, and what it did to rows that it was judged on.

    Attributes
    ----------
    name : str
        Its method.
    parameters : mapping
        Those that are not the defaults.
    sentence : str
        Why this one, what it was fitted to, and what it is shown on.
    before, after : Measurements
        Of the same rows, as they were and aligned.
    """

    name: str
    parameters: Mapping[str, Any]
    sentence: str
    before: Measurements
    after: Measurements


@dataclass(frozen=True, eq=False)
class ProjectedPair:
    """Both modalities in two dimensions.

    Attributes
    ----------
    label : str
        "raw", or the method of the aligner.
    images, texts : array of shape (n, 2)
        Coordinates of the rows that are drawn.
    axes : tuple of str
        What the two axes are.
    """

    label: str
    images: Array
    texts: Array
    axes: tuple[str, str]


@dataclass(frozen=True, eq=False)
class Projection:
    """One way to look at all dimensions in two.

    Attributes
    ----------
    name : str
        "PCA", "UMAP" or "PaCMAP".
    pairs : tuple of ProjectedPair
        Raw first; each has its own projection.
    """

    name: str
    pairs: tuple[ProjectedPair, ...]


@dataclass(frozen=True, eq=False)
class Similarities:
    """How alike pairs are, against all combinations of an image and a text.

    Attributes
    ----------
    label : str
        "raw", or the method of the aligner.
    edges : array of shape (n_bins + 1,)
        Cosines between which is counted, the same for all representations.
    pairs, combinations : array of shape (n_bins,)
        Share of the pairs, and of all combinations, in each bin.
    pairs_mean, combinations_mean : float
        Mean cosines.
    better : float
        Share of combinations that a pair exceeds, on average: 0.5 is chance, 1 is perfect.
    """

    label: str
    edges: Array
    pairs: Array
    combinations: Array
    pairs_mean: float
    combinations_mean: float
    better: float


@dataclass(frozen=True, eq=False)
class Subspaces:
    """Spectra of both modalities, and the angles between their subspaces beside those of chance.

    Attributes
    ----------
    label : str
        "raw", or the method of the aligner.
    n_images, n_texts : int
        Rows that it was computed from.
    images_spectrum, texts_spectrum : array of shape (n_features,)
        Share of the variance of each principal axis.
    angles : array of shape (min(d_x, d_y),)
        Principal angles in degrees, smallest first.
    random_low, random_mean, random_high : array of the same shape
        Least, mean and largest angle of simulated random subspaces of the same sizes.
    sentence : str
        Whether the modalities collapsed into different subspaces.
    warning : str or None
        Why that is not to be trusted, where rows are few.
    """

    label: str
    n_images: int
    n_texts: int
    images_spectrum: Array
    texts_spectrum: Array
    angles: Array
    random_low: Array
    random_mean: Array
    random_high: Array
    sentence: str
    warning: str | None


@dataclass(frozen=True)
class Item:
    """What a list of results shows of an item.

    Attributes
    ----------
    modality : "image" or "text"
    name : str
        Its identifier, or which row it is.
    caption : str or None
        Of a text.
    picture : bytes or None
        A small PNG file, of an image.
    """

    modality: Modality
    name: str
    caption: str | None = None
    picture: bytes | None = None

    @property
    def words(self) -> str:
        """Return the caption, or else the name."""
        return self.caption or self.name

    def to_dict(self) -> dict[str, str | None]:
        """Return it without its picture."""
        return {"modality": self.modality, "name": self.name, "caption": self.caption}


@dataclass(frozen=True)
class Hit:
    """One result of a query.

    Attributes
    ----------
    item : Item
    cosine : float
    is_own : bool
        Whether it belongs to the query.
    """

    item: Item
    cosine: float
    is_own: bool


@dataclass(frozen=True)
class Query:
    """A query and its nearest items in the mixed pool.

    Attributes
    ----------
    item : Item
    hits : mapping from label to tuple of Hit
        "raw", and the method of the aligner.
    """

    item: Item
    hits: Mapping[str, tuple[Hit, ...]]


@dataclass(frozen=True)
class Usage:
    """How to use the aligner.

    Attributes
    ----------
    commands : tuple of str
        Lines for a shell.
    python : tuple of str
        Lines of Python that do the same.
    """

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

"""What measures of more than one number return."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

__all__ = ["Directions", "Ratio", "Sides"]


@dataclass(frozen=True)
class Directions:
    """A measure for image queries and for text queries.

    Attributes
    ----------
    image_to_text : float
        Of the images, as queries.
    text_to_image : float
        Of the texts, as queries.
    """

    image_to_text: float
    text_to_image: float

    @property
    def mean(self) -> float:
        """Return the mean of both."""
        return (self.image_to_text + self.text_to_image) / 2


@dataclass(frozen=True)
class Ratio:
    """A ratio of two counts of queries.

    Attributes
    ----------
    numerator, denominator : float
        Queries whose nearest item is of their own modality, and of the other one. A query with
        nearest items of both counts in part.
    """

    numerator: float
    denominator: float

    @property
    def value(self) -> float:
        """Return the ratio: infinity where the denominator is 0."""
        return self.numerator / self.denominator if self.denominator else inf

    @property
    def probability(self) -> float:
        """Return the share of the numerator in all queries."""
        return self.numerator / (self.numerator + self.denominator)


@dataclass(frozen=True)
class Sides:
    """A measure of each modality by itself.

    Attributes
    ----------
    images, texts : float
        Of the image embeddings, and of the text embeddings.
    """

    images: float
    texts: float

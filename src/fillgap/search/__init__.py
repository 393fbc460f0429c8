"""One index of images and texts, asked by either, with scores that are comparable."""

from fillgap.search.hits import Explanation, Hit
from fillgap.search.index import MixedIndex

__all__ = ["Explanation", "Hit", "MixedIndex"]

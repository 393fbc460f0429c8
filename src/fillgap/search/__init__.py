"""One index of images and texts, asked by either, with scores that are comparable."""

from fillgap.search.backend import Kind
from fillgap.search.index import MixedIndex
from fillgap.search.opening import create_index, fit_space, index_files, new_index, open_index
from fillgap.search.scoring import Explanation, Hit

__all__ = [
    "Explanation",
    "Hit",
    "Kind",
    "MixedIndex",
    "create_index",
    "fit_space",
    "index_files",
    "new_index",
    "open_index",
]

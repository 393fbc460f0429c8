"""One index of images and texts, asked by either, with scores that are comparable."""

from fillgap.search._backend import Kind
from fillgap.search.filling import fit_space, index_files
from fillgap.search.hits import Explanation, Hit
from fillgap.search.index import MixedIndex
from fillgap.search.opening import create_index, new_index, open_index

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

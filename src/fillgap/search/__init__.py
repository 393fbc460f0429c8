"""One index of images and texts, asked by either, with scores that are comparable."""

from fillgap.search.index import Hit, MixedIndex
from fillgap.search.opening import create_index, fit_space, index_files, open_index

__all__ = ["Hit", "MixedIndex", "create_index", "fit_space", "index_files", "open_index"]

"""Reading and writing embeddings in the formats that people have them in."""

from fillgap.io.embedded import Manifest, read_manifest
from fillgap.io.names import Modality
from fillgap.io.pairs import load_pair, open_pair
from fillgap.io.shards import (
    load_rows,
    open_rows,
    open_shards,
    open_sides,
)
from fillgap.io.writing import save_rows, transform_file, transform_files

__all__ = [
    "Manifest",
    "Modality",
    "load_pair",
    "load_rows",
    "open_pair",
    "open_rows",
    "open_shards",
    "open_sides",
    "read_manifest",
    "save_rows",
    "transform_file",
    "transform_files",
]

"""Reading and writing embeddings in the formats that people have them in."""

from fillgap.io.embedded import EmbeddedShard, Manifest, read_manifest
from fillgap.io.names import Modality, guess_modality
from fillgap.io.pairs import load_pair, open_pair
from fillgap.io.shards import (
    BadShard,
    load_rows,
    open_rows,
    open_shards,
    open_sides,
    rows_between,
)
from fillgap.io.writing import save_rows, transform_file, transform_files

__all__ = [
    "BadShard",
    "EmbeddedShard",
    "Manifest",
    "Modality",
    "guess_modality",
    "load_pair",
    "load_rows",
    "open_pair",
    "open_rows",
    "open_shards",
    "open_sides",
    "read_manifest",
    "rows_between",
    "save_rows",
    "transform_file",
    "transform_files",
]

"""Reading and writing embeddings in the formats that people have them in."""

from fillgap.io._embedded import EmbeddedShard, Manifest, read_manifest
from fillgap.io._names import Modality, guess_modality
from fillgap.io._open import load_rows, open_rows
from fillgap.io._pairs import load_pair, open_pair
from fillgap.io._ranges import BadShard, open_shards, rows_between
from fillgap.io._sides import open_sides
from fillgap.io._write import save_rows, transform_file, transform_files

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

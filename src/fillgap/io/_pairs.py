"""Loading a pair of embedding sets with what is known about their rows."""

from __future__ import annotations

from collections.abc import Container, Sequence
from pathlib import Path
from typing import Any

from numpy.typing import ArrayLike

from fillgap.errors import InputError, check_integer
from fillgap.io._columns import (
    CAPTIONS,
    IDS,
    INDEX,
    TABLE_SUFFIXES,
    find_column,
    read_captions,
    read_column,
    read_index,
)
from fillgap.io._embedded import check_hashes, read_manifest, read_metadata
from fillgap.io._names import natural_key, split_key
from fillgap.io._open import in_memory
from fillgap.io._sample import sampled_pair
from fillgap.io._shards import ShardedRows
from fillgap.io._sides import clip_root, open_sides
from fillgap.pair import EmbeddingPair, RowSource, check_image_index, check_length

__all__ = ["load_pair", "open_pair"]


def load_pair(
    images: str | Path,
    texts: str | Path | None = None,
    *,
    image_index: str | Path | ArrayLike | None = None,
    captions: str | Path | Sequence[str] | None = None,
    paired: bool | None = None,
    max_images: int | None = None,
    random_state: int = 0,
) -> EmbeddingPair:
    """Load image embeddings and text embeddings, with names and captions where files hold them.

    Parameters
    ----------
    images, texts : str or path
        As for `open_rows`. Left out, `texts` are in the same place as the images: another array or
        column of one file, or the other half of a folder of clip-retrieval.
    image_index : array of int, or path, optional
        The row of each text's image; a path is a 1-D .npy file or a column of a table.
    captions : sequence of str, or path, optional
        The texts; a path is .txt, .json, .csv or a column of a table.
    paired : bool, optional
        Pass False for sets of equal size whose rows do not belong together.
    max_images : int, optional
        Of more images than this a random sample is taken, with all of their texts, and the name
        of the pair says so. The files are read block by block and never held; rows without names
        are then named by their number there ("image 4711").
    random_state : int
        Seed of the sample.

    Returns
    -------
    EmbeddingPair
        Captions (`caption`), names (`id`, `key`, `image_path`, `url`) and the image of each text
        (`image_index`) come from the columns of Parquet or Arrow files, or from the metadata of
        the folder, unless they are given. In a folder of `fillgap embed` every file is compared
        with the hash in its manifest.

    Raises
    ------
    InputError, InputTypeError
        If something cannot be read, does not fit together, or the sides are plainly swapped.
    """
    image_rows, text_rows = open_sides(images, texts)
    known = _given(image_index, captions)
    known = _described(images, texts, (image_rows, text_rows), known) | known
    name = split_key(images)[0].stem
    if max_images is not None and image_rows.shape[0] > check_integer(
        max_images, "max_images", low=2
    ):
        return sampled_pair(
            (image_rows, text_rows),
            known,
            max_images=max_images,
            paired=paired,
            name=name,
            random_state=random_state,
        )
    return EmbeddingPair(
        in_memory(image_rows),
        in_memory(text_rows),
        paired=paired,
        name=name,
        **known,
    )


def open_pair(
    images: str | Path,
    texts: str | Path | None = None,
    *,
    image_index: str | Path | ArrayLike | None = None,
    captions: str | Path | Sequence[str] | None = None,
) -> tuple[RowSource, RowSource, dict[str, Any]]:
    """Open both sides for reading block by block, with what files hold about their rows.

    Parameters
    ----------
    images, texts, image_index, captions
        As for `load_pair`.

    Returns
    -------
    tuple of RowSource, RowSource and dict
        Images, texts, and those of `image_ids`, `text_ids`, `captions` and `image_index` that are
        known; `paired` says whether texts belong to images.
    """
    rows = open_sides(images, texts)
    given = _given(image_index, captions)
    n_images, n_texts = (side.shape[0] for side in rows)
    if "captions" in given:
        check_length("captions", given["captions"], n_texts)
    known = _described(images, texts, rows, given) | given
    if "image_index" in given:
        known["image_index"] = check_image_index(given["image_index"], n_images, n_texts)
    paired = "image_index" in known or rows[0].shape[0] == rows[1].shape[0]
    return *rows, known | {"paired": paired}


def _given(
    image_index: str | Path | ArrayLike | None, captions: str | Path | Sequence[str] | None
) -> dict[str, Any]:
    """Return what is given about rows, read where it is a path."""
    known: dict[str, Any] = {}
    if image_index is not None:
        known["image_index"] = (
            read_index(image_index) if isinstance(image_index, (str, Path)) else image_index
        )
    if captions is not None:
        known["captions"] = (
            read_captions(captions) if isinstance(captions, (str, Path)) else captions
        )
    return known


def _described(
    images: str | Path,
    texts: str | Path | None,
    rows: tuple[RowSource, RowSource],
    known: Container[str],
) -> dict[str, Any]:
    """Return what columns say about the rows of both sides and is not known yet."""
    root = clip_root(images, texts)
    manifest = None if root is None else read_manifest(root)
    if root is not None and manifest is not None:
        check_hashes(root, manifest)
        return read_metadata(root, manifest)
    if root is not None:
        metadata = sorted((root / "metadata").glob("*.parquet"), key=natural_key)
        tables = metadata, metadata
    else:
        tables = _tables(rows[0]), _tables(rows[1])
    return _columns(known, (rows[0].shape[0], rows[1].shape[0]), *tables)


def _tables(source: RowSource) -> list[Path]:
    """Return the files of a source that may have other columns, or none."""
    parts = source.parts if isinstance(source, ShardedRows) else [source]
    paths = [part.path for part in parts if hasattr(part, "path")]
    return [path for path in paths if path.suffix.lower() in TABLE_SUFFIXES]


def _columns(
    known: Container[str], counts: Sequence[int], images: list[Path], texts: list[Path]
) -> dict[str, Any]:
    """Return what columns say about the rows and is not known yet.

    Where both sides are in the same tables, row i of one belongs to row i of the other.
    """
    wanted: list[tuple[str, list[Path], tuple[str, ...], int]]
    wanted = [("image_ids", images, IDS, 0), ("captions", texts, CAPTIONS, 1)]
    if images != texts:
        wanted += [("text_ids", texts, IDS, 1), ("image_index", texts, INDEX, 1)]
    found: dict[str, Any] = {}
    for what, tables, names, side in wanted:
        column = find_column(tables, names) if tables and what not in known else None
        if column is None:
            continue
        values = read_column(tables, column)
        if len(values) != counts[side]:
            raise InputError(
                f"column {column!r} of {tables[0].parent} must have a value for each of the "
                f"{counts[side]} embeddings, got {len(values)}. Complete the files."
            )
        textual = what != "image_index"
        found[what] = ["" if v is None else str(v) for v in values] if textual else values
    return found

"""Loading a pair of embedding sets with what is known about their rows."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fillgap.errors import InputError, check_integer, check_random_state
from fillgap.io.embedded import check_hashes, read_manifest, read_metadata
from fillgap.io.names import natural_key, split_key
from fillgap.io.shards import ShardedRows, clip_root, in_memory, open_sides
from fillgap.io.tables import (
    CAPTIONS,
    IDS,
    INDEX,
    TABLE_SUFFIXES,
    find_column,
    read_captions,
    read_column,
    read_index,
)
from fillgap.pair import BLOCK_ROWS, EmbeddingPair, RowSource, check_image_index, check_length

Rows = NDArray[np.intp]


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
    rows = open_sides(images, texts)
    given = _given(image_index, captions)
    known = _described(images, texts, rows, given) | given
    name = split_key(images)[0].stem
    if max_images is not None and rows[0].shape[0] > check_integer(max_images, "max_images", low=2):
        return sampled_pair(
            rows,
            known,
            max_images=max_images,
            paired=paired,
            name=name,
            random_state=random_state,
        )
    image_rows, text_rows = map(in_memory, rows)
    return EmbeddingPair(image_rows, text_rows, paired=paired, name=name, **known)


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
    given: dict[str, Any] = {}
    if image_index is not None:
        given["image_index"] = (
            read_index(image_index) if isinstance(image_index, (str, Path)) else image_index
        )
    if captions is not None:
        given["captions"] = (
            read_captions(captions) if isinstance(captions, (str, Path)) else captions
        )
    return given


def _described(
    images: str | Path,
    texts: str | Path | None,
    rows: tuple[RowSource, RowSource],
    given: Container[str],
) -> dict[str, Any]:
    """Return what files say about the rows of both sides and is not given.

    Where both sides are in the same tables, row i of one belongs to row i of the other.
    """
    root = clip_root(images, texts)
    manifest = None if root is None else read_manifest(root)
    if root is not None and manifest is not None:
        check_hashes(root, manifest)
        return read_metadata(root, manifest)
    if root is not None:
        image_tables = text_tables = sorted((root / "metadata").glob("*.parquet"), key=natural_key)
    else:
        image_tables, text_tables = map(_tables_of, rows)
    wanted: list[tuple[str, list[Path], tuple[str, ...], RowSource]] = [
        ("image_ids", image_tables, IDS, rows[0]),
        ("captions", text_tables, CAPTIONS, rows[1]),
    ]
    if image_tables != text_tables:
        wanted += [("text_ids", text_tables, IDS, rows[1])]
        wanted += [("image_index", text_tables, INDEX, rows[1])]
    described: dict[str, Any] = {}
    for what, tables, names, side in wanted:
        column = find_column(tables, names) if tables and what not in given else None
        if column is None:
            continue
        values = read_column(tables, column)
        if len(values) != side.shape[0]:
            raise InputError(
                f"column {column!r} of {tables[0].parent} must have a value for each of the "
                f"{side.shape[0]} embeddings, got {len(values)}. Complete the files."
            )
        if what != "image_index":
            values = ["" if value is None else str(value) for value in values]
        described[what] = values
    return described


def _tables_of(source: RowSource) -> list[Path]:
    """Return the files of a source that may have other columns, or none."""
    parts = source.parts if isinstance(source, ShardedRows) else [source]
    paths = [part.path for part in parts if hasattr(part, "path")]
    return [path for path in paths if path.suffix.lower() in TABLE_SUFFIXES]


def sampled_pair(
    sources: tuple[RowSource, RowSource],
    known: Mapping[str, Any],
    *,
    max_images: int,
    paired: bool | None,
    name: str,
    random_state: int,
) -> EmbeddingPair:
    """Return a random sample of the images with all of their texts; of unpaired sets, of both.

    `known` is what files say about all rows. Rows without names are named by their number in the
    files, and the name of the pair says that it is a sample.
    """
    rng = check_random_state(random_state)
    n, m = sources[0].shape[0], sources[1].shape[0]
    images = _drawn(n, max_images, rng)
    index = known.get("image_index")
    if index is None and n == m and paired is not False:
        texts, index = images, np.arange(max_images)
    elif index is None or paired is False:
        texts, index = _drawn(m, min(m, max_images), rng), None
    else:
        place = np.full(n, -1, dtype=np.intp)
        place[images] = np.arange(max_images)
        index = place[np.asarray(index)]
        texts = np.flatnonzero(index >= 0)
        index = index[texts]
    named: dict[str, Any] = {
        "image_ids": [f"image {row}" for row in images],
        "text_ids": [f"text {row}" for row in texts],
    }
    for what, rows in (("image_ids", images), ("text_ids", texts), ("captions", texts)):
        if known.get(what) is not None:
            named[what] = [known[what][row] for row in rows]
    if known.get("labels") is not None:
        named["labels"] = np.asarray(known["labels"])[images]
    return EmbeddingPair(
        take_rows(sources[0], images),
        take_rows(sources[1], texts),
        image_index=index,
        paired=index is not None,
        name=f"{name}, a sample of {max_images} of {n} images",
        **named,
    )


def _drawn(n: int, k: int, rng: np.random.Generator) -> Rows:
    """Return k of n rows at random, ascending."""
    return np.sort(rng.choice(n, k, replace=False))


def take_rows(source: RowSource, rows: Rows) -> NDArray[np.floating[Any]]:
    """Return these rows, ascending, of a source that is read once, block by block, to the last."""
    kept, start = [], 0
    for block in source.iter_blocks(BLOCK_ROWS):
        stop = start + len(block)
        first, last = np.searchsorted(rows, [start, stop])
        kept.append(block[rows[first:last] - start])
        start = stop
        if not len(rows) or stop > rows[-1]:
            break
    return np.concatenate(kept)

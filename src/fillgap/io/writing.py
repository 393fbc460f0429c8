"""Writing rows: new files, and copies of files with their rows changed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np

from fillgap.errors import InputError, InputTypeError, check_matrix
from fillgap.files import atomic_file, atomic_folder, check_target, written_back
from fillgap.io.names import SUFFIXES, Apply, Block, Modality, NewRows, check_stored, split_key
from fillgap.io.shards import open_files
from fillgap.io.tables import ListRows, format_of, rewrite_column
from fillgap.pair import RowSource, iter_blocks
from fillgap.remote import is_remote
from fillgap.runtime import Progress, silent


def save_rows(path: str | Path, rows: Any, *, overwrite: bool = False) -> Path:
    """Write embeddings in the format of the path's suffix; the file appears whole or not at all.

    Parameters
    ----------
    path : str or path
        The new file; behind a colon the name of the array or column (default "embeddings").
    rows : array of shape (n_samples, n_features) or RowSource
        float16, float32 or float64, which is kept. A source is streamed.
    overwrite : bool
        Whether an existing file may be replaced.

    Returns
    -------
    Path
        The file that was written.

    Raises
    ------
    InputError, InputTypeError
        If the path may not be written, or `rows` are no embeddings.
    """
    file, key = split_key(path)
    form = format_of(file)
    source = rows if isinstance(rows, RowSource) else check_matrix(rows, "rows")
    check_stored(source.shape, source.dtype, "rows")
    check_target(file, overwrite=overwrite)
    blocks = (block for _, block in iter_blocks(source, "rows"))
    with atomic_file(file) as temporary:
        form.write(temporary, key, NewRows(source.shape, source.dtype.newbyteorder("="), blocks))
    return file


def transform_files(
    sources: str | Path | Sequence[str | Path],
    target: str | Path,
    function: Apply,
    *,
    modality: Modality | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> list[Path]:
    """Write copies of embeddings with every row changed, block by block.

    Format and type stay (also bfloat16; int8 becomes float32), and so do other columns of tables.
    .npz and safetensors files hold these rows alone, under the same name. Rows of .npy and .npz
    files are written row after row in the byte order of this machine.

    Parameters
    ----------
    sources : str or path, or several
        As for `open_rows`. Several paths, a folder or a pattern make the target a folder, in which
        the files keep their names.
    target : str or path
        The new file, of the same suffix, or the new folder.
    function : callable
        Called as function(block, first_row), where first_row counts in the file at hand; returns
        an array of shape (rows of the block, k) with the same k every time.
    modality : "image" or "text", optional
        As for `open_rows`.
    overwrite : bool
        Whether existing files may be replaced. Inputs never are.
    progress : callable, optional
        Called as progress(rows done, rows in all, path).

    Returns
    -------
    list of Path
        The files that were written; each appears whole or not at all.

    Raises
    ------
    InputError, InputTypeError
        If a source cannot be read, the target may not be written, or `function` refuses a block;
        its message is then preceded by the name of the file.
    """
    specs = [sources] if isinstance(sources, (str, Path)) else list(sources)
    parts: list[Any] = [part for spec in specs for part in open_files(spec, modality)]
    if not parts:
        raise InputError("sources must be at least one path, got none. Name the files to change.")
    named = [split_key(spec)[0] for spec in specs]
    inputs = [*(part.path for part in parts), *named]
    path = check_target(target, inputs=inputs, overwrite=overwrite)
    ends = list(accumulate((part.shape[0] for part in parts), initial=0))
    applies = [
        _checked(function, part, progress or silent, before, ends[-1])
        for part, before in zip(parts, ends, strict=False)
    ]
    if len(named) == 1 and parts[0].path == named[0]:
        _check_file(path, parts[0].path)
        targets = [path]
    else:
        targets = [path / part.path.name for part in parts]
        _check_folder(path, targets, inputs)
    if targets == [path] or is_remote(path):  # a store has no step for several files
        for part, apply, file in zip(parts, applies, targets, strict=True):
            with atomic_file(file) as temporary:
                _rewrite(part, temporary, apply)
        return targets
    with atomic_folder(path) as temporary:
        for part, apply in zip(parts, applies, strict=True):
            _rewrite(part, temporary / part.path.name, apply)
    return targets


def transform_file(
    source: RowSource, target: Path, function: Apply, *, progress: Progress | None = None
) -> Path:
    """Write a copy of the one file of `source` with every row changed; see `transform_files`.

    Parameters
    ----------
    source : RowSource
        One file, as `open_rows` or `open_shards` opens it.
    target : Path
        The new file, which is replaced where it exists: whole or not at all.
    function : callable
        Called as function(block, first_row).
    progress : callable, optional
        Called as progress(rows done, rows in all, path).
    """
    apply = _checked(function, source, progress or silent, 0, source.shape[0])
    with atomic_file(target) as temporary, written_back(temporary):
        _rewrite(source, temporary, apply)
    return target


def _rewrite(source: Any, target: Path, apply: Apply) -> None:
    """Write the rows that `apply` makes of one file, in its format."""
    if isinstance(source, ListRows):
        rewrite_column(source, target, apply)
        return
    blocks = (apply(rows, start) for start, rows in iter_blocks(source, source.name))
    first = [next(blocks)]  # its width stands in the header
    shape = (source.shape[0], first[0].shape[1])
    rows = NewRows(shape, source.dtype, _emptied(first, blocks), source.entry.bfloat16)
    format_of(source.path).write(target, source.key, rows)


def _emptied(first: list[Block], others: Iterator[Block]) -> Iterator[Block]:
    """Yield all blocks, without holding the first until the end."""
    yield first.pop()
    yield from others


def _checked(
    function: Apply, source: RowSource, progress: Progress, before: int, total: int
) -> Apply:
    """Return the function for one file, with its result checked, cast and reported."""
    width: int | None = None

    def apply(block: Block, start: int) -> Block:
        nonlocal width
        try:
            rows = np.asarray(function(block, start))
        except (InputError, InputTypeError) as error:
            raise type(error)(f"{source.name}: {error}") from error
        if width is None:
            width = (*rows.shape, 0, 0)[1]
        if rows.shape != (len(block), width):
            raise InputError(
                f"the result of a transformation must be of shape ({len(block)}, {width}), "
                f"got {rows.shape}. Return one row for each row, all of one length."
            )
        progress(before + start + len(block), total, source.name)
        return rows.astype(source.dtype, copy=False)

    return apply


def _check_file(target: Path, source: Path) -> None:
    """Refuse a target of another format: other columns could not be kept there."""
    if target.is_dir():
        raise InputError(f"{target} must be a file, got a folder. Name the new file in it.")
    if target.suffix.lower() != source.suffix.lower():
        raise InputError(
            f"{target} must end in {source.suffix} as its source does, got {target.suffix!r}. "
            "The format is kept; convert the file afterwards."
        )


def _check_folder(folder: Path, targets: Sequence[Path], inputs: Sequence[Path]) -> None:
    """Refuse a folder in which files would collide, or old shards would mix with new ones."""
    check_names(targets)
    if folder.exists():
        if not folder.is_dir():
            raise InputError(
                f"{folder} must be a folder for several files, got a file. Name a folder."
            )
        for target in targets:
            check_target(target, inputs=inputs, overwrite=True)
        check_alone(folder, targets)


def check_names(targets: Sequence[Path]) -> None:
    """Refuse several files of one name for one folder."""
    twice = [name for name, n in Counter(target.name for target in targets).items() if n > 1]
    if twice:
        raise InputError(
            f"inputs must have different file names for one folder, got {twice[0]} twice. "
            "Write them one at a time."
        )


def check_alone(folder: Path, targets: Sequence[Path]) -> None:
    """Refuse a folder with other shards, which would mix with those written now."""
    names = {target.name for target in targets}
    stale = [
        path.name
        for path in folder.iterdir()
        if path.suffix.lower() in SUFFIXES and path.name not in names
    ]
    if stale:
        raise InputError(
            f"{folder} must hold no shards but those written now, got {stale[0]}. "
            "Remove it, or choose another folder."
        )

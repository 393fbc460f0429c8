"""From embeddings on disk to an index, in a stream."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fillgap._checks import check_matrix
from fillgap._progress import Progress, silent
from fillgap.aligners import MeanCentering
from fillgap.io import open_pair
from fillgap.rows import iter_blocks
from fillgap.scores import NNN, Modality, Sides, ZScore
from fillgap.search.index import MixedIndex
from fillgap.search.opening import new_index
from fillgap.space import MixedSpace

__all__ = ["fit_space", "index_files"]

#: Documents added at a time: 4 fields of 512 float32 are 128 MB.
_BATCH = 16_384
#: Rows of each side that the calibration is fitted to.
_SAMPLE = 4096


def index_files(
    images: str | Path,
    texts: str | Path | None,
    target: str | Path,
    *,
    space: MixedSpace | None = None,
    image_index: Any | None = None,
    captions: Any | None = None,
    model: str | None = None,
    progress: Progress | None = None,
    **parameters: Any,
) -> Mapping[str, Any]:
    """Build an index of embeddings on disk; they are read block by block and never held.

    Parameters
    ----------
    images, texts : str or path
        As for `load_pair`.
    target : str or path
        The index, which appears when it is complete.
    space : MixedSpace, optional
        Fitted to these embeddings by `fit_space` where it is left out.
    image_index, captions : optional
        As for `load_pair`: the payload of a text then names its image, and holds its words.
    model : str, optional
        The model behind the embeddings, where no space says it.
    progress : callable, optional
        Called as progress(rows done, rows in all, what).
    **parameters
        As for `new_index`.

    Returns
    -------
    mapping
        `count` by modality, `notes`, and the `fingerprint` of the space.

    Raises
    ------
    InputError
        If the embeddings cannot be read or are not those of the space, or the index cannot be
        written.
    """
    image_rows, text_rows, known = open_pair(
        images, texts, image_index=image_index, captions=captions
    )
    notes = list(parameters.pop("notes", ()))
    if space is None:
        space = fit_space(image_rows, text_rows, model=model, progress=progress)
        notes.append(
            "Aligner (mean-centering) and calibration (z-score on all after nnn) were fitted to "
            "this collection itself."
        )
    sides: dict[Modality, Any] = {"image": image_rows, "text": text_rows}
    total, done = sum(rows.shape[0] for rows in sides.values()), 0
    parameters.setdefault("name", Path(images).stem)
    with new_index(target, space, model=model, notes=notes, **parameters) as index:
        for side, rows in sides.items():
            for start, block in iter_blocks(rows, side, _BATCH):
                numbers = range(start, start + len(block))
                _add(index, side, block, numbers, known)
                done += len(block)
                (progress or silent)(done, total, "indexing")
        return {"count": index.count(), "notes": notes, "fingerprint": space.fingerprint}


def fit_space(
    images: Any, texts: Any, *, model: str | None = None, progress: Progress | None = None
) -> MixedSpace:
    """Fit the default aligner and calibration to a collection, unpaired.

    The means are taken over all rows in a stream. Hubs are corrected, and scores brought to one
    scale, by a sample of at most 4096 rows of each side, asked of one another. This is what does
    well without pairs and however small the collection; `recommend` finds better with pairs. An
    aligner with more to learn fits the collection closer than any query that is new, and a
    calibration that is fitted to the same rows then hides the other modality.

    Parameters
    ----------
    images, texts : array or `RowSource`
    model : str, optional
        Kept with the space.
    progress : callable, optional
    """
    images, texts = (
        side if hasattr(side, "iter_blocks") else check_matrix(side, what)
        for side, what in ((images, "images"), (texts, "texts"))
    )
    aligner = MeanCentering().fit(images, texts, progress=progress)
    sample = Sides(
        aligner.transform(_sample(images, "images")), aligner.transform_y(_sample(texts, "texts"))
    )
    calibration = ZScore(on="all", after=NNN()).fit(sample, sample, progress=progress)
    return MixedSpace(aligner, calibration, model=model)


def _sample(rows: Any, what: str) -> Any:
    """Return at most _SAMPLE rows at even distances, read in a stream."""
    wanted = np.unique(np.linspace(0, rows.shape[0] - 1, _SAMPLE).astype(int))
    parts = []
    for start, block in iter_blocks(rows, what):
        low, high = np.searchsorted(wanted, (start, start + len(block)))
        parts.append(np.array(block[wanted[low:high] - start]))
    return np.concatenate(parts)


def _add(
    index: MixedIndex, side: Modality, block: Any, numbers: range, known: Mapping[str, Any]
) -> None:
    """Add a block with ids that are distinct in the whole index, and what is known about it."""
    if side == "image":
        index.add_images(
            [f"image:{number}" for number in numbers],
            block,
            [{"name": name} for name in _part(known.get("image_ids"), numbers)],
        )
        return
    owner = known.get("image_index")
    captions, names = (_part(known.get(key), numbers) for key in ("captions", "text_ids"))
    payloads = []
    for i, number in enumerate(numbers):
        payload = {"caption": captions[i], "name": names[i]}
        if known["paired"]:
            payload["image"] = f"image:{number if owner is None else int(owner[number])}"
        payloads.append(payload)
    index.add_texts([f"text:{number}" for number in numbers], block, payloads)


def _part(values: Any, numbers: range) -> list[str]:
    return [""] * len(numbers) if values is None else [str(values[number]) for number in numbers]

"""Opening images and texts together."""

from __future__ import annotations

from pathlib import Path

from fillgap.errors import InputError
from fillgap.io._embedded import check_complete, read_manifest
from fillgap.io._names import guess_modality, split_key
from fillgap.io._open import open_files, open_rows
from fillgap.io._shards import CLIP_FOLDERS, is_clip_folder
from fillgap.pair import RowSource

__all__ = ["check_sides", "clip_root", "open_sides"]


def open_sides(images: str | Path, texts: str | Path | None = None) -> tuple[RowSource, RowSource]:
    """Open image embeddings and text embeddings for reading block by block.

    Parameters
    ----------
    images, texts : str or path
        As for `open_rows`. Left out, `texts` are in the same place as the images: another array or
        column of one file, or the other half of a folder of clip-retrieval.

    Returns
    -------
    tuple of RowSource
        Images and texts.

    Raises
    ------
    InputError, InputTypeError
        If one cannot be opened, both are the same, their names say that they are swapped, or the
        shards of a folder of clip-retrieval do not match.
    """
    sides = (
        open_rows(images, modality="image"),
        open_rows(images if texts is None else texts, modality="text"),
    )
    check_sides(sides[0].name, sides[1].name)
    root = clip_root(images, texts)
    if root is not None:
        _check_shards(root)
    return sides


def clip_root(images: str | Path, texts: str | Path | None) -> Path | None:
    """Return the folder of clip-retrieval that both sides are in, or None."""
    root = split_key(images)[0]
    both = texts is None or split_key(texts)[0] == root
    return root if both and is_clip_folder(root) else None


def check_sides(images: str, texts: str) -> None:
    """Refuse one array for both sides, and sides whose names say that they are swapped."""
    if images == texts:
        raise InputError(
            f"images and texts must be two sets of embeddings, got {images} for both. "
            "Name a second file, or an array of each side in this one."
        )
    if (guess_modality(images), guess_modality(texts)) == ("text", "image"):
        raise InputError(
            f"images must be given before texts, got {images} and {texts}, "
            "whose names say the opposite. Swap them, or rename them if the names are wrong."
        )


def _check_shards(root: Path) -> None:
    """Refuse a folder of clip-retrieval in which the shards of both sides do not match."""
    manifest = read_manifest(root)
    if manifest is not None:  # it counts the rows of each side, which may differ
        check_complete(root, manifest)
        if manifest.n_images + len(manifest.skipped) != manifest.n_done:
            raise InputError(
                f"{root} must hold images with their captions, got texts of no image among them. "
                "Queries and documents are for fillgap bench mixed FOLDER --embeddings."
            )
        return
    images, texts = (open_files(root / name, None) for name in CLIP_FOLDERS.values())
    if len(images) != len(texts):
        raise InputError(
            f"{root} must have as many shards of images as of texts, got {len(images)} and "
            f"{len(texts)}. Complete the folder, or remove the shards without a partner."
        )
    for image, text in zip(images, texts, strict=True):
        if image.shape[0] != text.shape[0]:
            raise InputError(
                f"{root} must have pairs of shards with equal rows, got {image.shape[0]} in "
                f"{image.name} and {text.shape[0]} in {text.name}. Write those shards again."
            )

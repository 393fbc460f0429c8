"""The lines that use an aligner, for a shell and for Python."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fillgap.io._names import SUFFIXES, split_key
from fillgap.report.data import Usage

__all__ = ["explain"]

#: What stands for the files where they are not known.
UNNAMED = ("IMAGES.npy", "TEXTS.npy")
FITTED = "aligner.safetensors"


def explain(
    method: str,
    parameters: Mapping[str, Any],
    *,
    needs_pairs: bool,
    sources: Sequence[str] | None = None,
    image_index: str | None = None,
    aligner_file: str | None = None,
) -> Usage:
    """Return how to fit an aligner and apply it, or how to apply one that is fitted.

    Parameters
    ----------
    method : str
        Its name on the command line.
    parameters : mapping
        Those to set.
    needs_pairs : bool
        Whether it is fitted to pairs.
    sources : sequence of two str, optional
        Images and texts, as on the command line ("file.npz:images").
    image_index : str, optional
        The file that says which image each text belongs to.
    aligner_file : str, optional
        The file of a fitted aligner.
    """
    images, texts = sources or UNNAMED
    index = image_index if needs_pairs else None
    file = aligner_file or FITTED
    if aligner_file:
        commands, names = [], "load_aligner, load_pair"
        got = [f"aligner = load_aligner({file!r})"]
    else:
        commands = [_fit_command(method, parameters, images, texts, index)]
        names = "load_pair, make_aligner, save_aligner"
        got = _fit_lines(method, parameters, needs_pairs=needs_pairs)
    given = f", image_index={index!r}" if index else ""
    python = [
        f"from fillgap import {names}",
        "",
        f"pair = load_pair({images!r}, {texts!r}{given})",
        *got,
        "images, texts = aligner.transform_pair(pair.images, pair.texts)",
    ]
    return Usage((*commands, *_apply_commands(file, images, texts)), tuple(python))


def _fit_command(
    method: str, parameters: Mapping[str, Any], images: str, texts: str, index: str | None
) -> str:
    words = ["fillgap", "fit", method, images, texts]
    for name, value in parameters.items():
        words += ["--set", f"{name}={value}"]
    words += ["--image-index", index] if index else []
    return shlex.join([*words, "-o", FITTED])


def _fit_lines(method: str, parameters: Mapping[str, Any], *, needs_pairs: bool) -> list[str]:
    arguments = ", ".join(
        [repr(method), *(f"{name}={value!r}" for name, value in parameters.items())]
    )
    rows = "*pair.matched()" if needs_pairs else "pair.images, pair.texts"
    return [
        f"aligner = make_aligner({arguments}).fit({rows})",
        f"save_aligner(aligner, {FITTED!r})",
    ]


def _apply_commands(file: str, images: str, texts: str) -> list[str]:
    """Return a command for each side; where one file holds both, the second continues the first."""
    (image_path, _), (text_path, text_key) = split_key(images), split_key(texts)
    both = image_path == text_path and image_path.suffix in SUFFIXES
    image_out = _aligned(image_path, "images", "_images" if both else "")
    text_out = _aligned(text_path, "texts", "")
    if both and text_key:
        texts = f"{image_out}:{text_key}"
    return [
        shlex.join(["fillgap", "apply", file, source, "--modality", modality, "-o", out])
        for source, modality, out in ((images, "image", image_out), (texts, "text", text_out))
    ]


def _aligned(path: Path, side: str, extra: str) -> str:
    """Return a new name beside a file or a folder; a pattern of shards becomes a folder."""
    if set("*?[") & set(path.name):
        return str(path.with_name(f"{side}_aligned"))
    return str(path.with_name(f"{path.stem}{extra}_aligned{path.suffix}"))

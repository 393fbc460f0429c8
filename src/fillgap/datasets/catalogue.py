"""One name for each layout, and the way from a few words to a dataset."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from difflib import get_close_matches
from pathlib import Path
from typing import Final

from fillgap.datasets.captioned import (
    open_classes,
    open_coco,
    open_conceptual_captions,
    open_flickr,
    open_folder,
    open_web,
)
from fillgap.datasets.hugging_face import open_hugging_face
from fillgap.datasets.judged import open_halves
from fillgap.datasets.records import Dataset, draw_pairs
from fillgap.datasets.scenes import open_scenes
from fillgap.errors import InputError, InputTypeError, check_choice
from fillgap.files import missing_path

#: What opens each layout: a function of a path that exists and of options, or of options alone.
LAYOUTS: Final[dict[str, Callable[..., Dataset]]] = {
    "coco": open_coco,
    "conceptual-captions": open_conceptual_captions,
    "flickr": open_flickr,
    "folder": open_folder,
    "classes": open_classes,
    "webdataset": open_web,
    "hugging-face": open_hugging_face,
    "digit-scenes": open_scenes,
    "judged": open_halves,
}


def open_dataset(
    spec: str,
    *,
    part: str = "all",
    n_pairs: int = 2500,
    n_transport: int = 5000,
    random_state: int = 0,
    **options: str,
) -> Dataset:
    """Open images with captions in one of the layouts that people have them in.

    Parameters
    ----------
    spec : str
        LAYOUT:PATH, for example "coco:/data/coco" or "folder:pictures"; "digit-scenes" comes with
        the package.
    part : {"all", "pairs", "transport"}
        Everything, or one of the two parts of `draw_pairs`.
    n_pairs, n_transport, random_state : int
        Of `draw_pairs`.
    **options : str
        Of the layout, for example split="val2017".

    Returns
    -------
    Dataset
        What could not be used is listed in its `problems`.

    Raises
    ------
    InputError
        If there is no such layout, option or path, or nothing usable.

    Examples
    --------
    >>> scenes = open_dataset("digit-scenes", split="fitting")
    >>> len(scenes), scenes[0].captions[0]
    (1000, 'a large four in the top left, a 5 on the right, a four, and a zero')
    """
    check_choice(part, "part", ("all", "pairs", "transport"))
    if not isinstance(spec, str):
        raise InputTypeError(
            f"a dataset must be named by a string, got {type(spec).__name__}. "
            "Write for example 'coco:FOLDER'."
        )
    layout, colon, place = spec.partition(":")
    if layout not in LAYOUTS:
        near = get_close_matches(layout, LAYOUTS, n=3, cutoff=0.5)
        there = f"Write LAYOUT:{spec}." if Path(spec).exists() else "Write LAYOUT:PATH."
        remedy = f"Did you mean {' or '.join(near)}?" if near else there
        raise InputError(
            f"the layout of a dataset must be one of {', '.join(LAYOUTS)}, got {layout!r}. {remedy}"
        )
    parameters = inspect.signature(LAYOUTS[layout]).parameters
    takes_path = "path" in parameters
    if takes_path != bool(colon and place):
        wanted = f"{layout}:PATH" if takes_path else layout
        raise InputError(
            f"this dataset must be written {wanted}, got {spec!r}. "
            + ("Name its folder." if takes_path else "It comes with the package.")
        )
    known = [name for name in parameters if name != "path"]
    for name in options:
        if name not in known:
            near = get_close_matches(name, known, n=1)
            remedy = f"Did you mean {near[0]}?" if near else "Check its spelling."
            rule = f"one of {', '.join(known)}" if known else "left out"
            raise InputError(f"an option of {layout} must be {rule}, got {name!r}. {remedy}")
    if takes_path and not Path(place).exists():
        raise missing_path(Path(place))
    dataset = LAYOUTS[layout](*([Path(place)] if takes_path else []), **options)
    if part == "all":
        return dataset
    drawn = draw_pairs(dataset, n_pairs=n_pairs, n_transport=n_transport, random_state=random_state)
    return drawn[part == "transport"]

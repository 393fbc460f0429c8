"""Spaces as files: an aligner's file, with the arrays of a calibration beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fillgap._checks import InputError
from fillgap.affine import AffineMap
from fillgap.aligners import Provenance, Translation, aligner_state, restore_aligner
from fillgap.artifact import read_artifact, write_artifact
from fillgap.scores import Sides, restore_calibration
from fillgap.space.mixed import MixedSpace

__all__ = ["load_space", "save_space"]

_CALIBRATION = "calibration."
_QUERY_MEAN = "query_mean."


def save_space(
    space: MixedSpace,
    path: str | Path,
    *,
    provenance: Provenance | None = None,
    overwrite: bool = False,
) -> Path:
    """Write a space to one safetensors file, which `load_aligner` reads too.

    Parameters
    ----------
    space : MixedSpace
    path : str or path
        Where to.
    provenance : Provenance, optional
        Kept in the header; its model must be that of the space, or None.
    overwrite : bool
        Whether an existing file may be replaced.

    Raises
    ------
    InputError
        If the file cannot be written.
    """
    arrays, header = space.state()
    if space.aligner is None:
        identity, known = aligner_state(_identity(space.n_features))
        arrays, header = identity | arrays, known | header | {"identity": True}
    kept = {key: value for key, value in vars(provenance or Provenance()).items() if value}
    if space.model is not None and kept.setdefault("model", space.model) != space.model:
        raise InputError(
            f"the model of the provenance must be that of the space, {space.model!r}, got "
            f"{kept['model']!r}. Leave it out."
        )
    header = {key: value for key, value in header.items() if value is not None} | kept
    return write_artifact(path, "aligner", arrays, header, overwrite=overwrite)


def load_space(path: str | Path) -> MixedSpace:
    """Return the space that `save_space` wrote, or that of an aligner's file, not calibrated.

    Of the folder of an index it is the space beside it. Nothing in the file is executed.

    Raises
    ------
    InputError
        If the file is missing, damaged, of another kind, or of a newer format version.
    """
    beside = Path(path) / "space.safetensors"
    path = beside if beside.is_file() else path
    arrays, header = read_artifact(path, "aligner")
    aligner = restore_aligner(path, arrays, header)
    state = header.get("calibration")
    try:
        calibration = (
            None if state is None else restore_calibration(_part(arrays, _CALIBRATION), state)
        )
        means = _part(arrays, _QUERY_MEAN)
        space = MixedSpace(
            None if header.get("identity") else aligner,
            calibration,
            n_features=aligner.n_features_in_,
            model=header.get("model"),
            query_means=Sides(**means),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(
            f"{path} must be a whole space, got one that lacks or garbles {error}. "
            "It may be of a newer version, or damaged: fit again."
        ) from error
    space.metadata = header
    return space


def _part(arrays: dict[str, NDArray[Any]], prefix: str) -> dict[str, NDArray[Any]]:
    """Return the arrays whose names begin with `prefix`, without it."""
    return {
        name.removeprefix(prefix): array
        for name, array in arrays.items()
        if name.startswith(prefix)
    }


def _identity(n_features: int) -> Translation:
    """Return an aligner that changes nothing, for readers that know only aligners."""
    aligner = Translation(amount=0.0)
    aligner.n_features_in_, aligner.n_samples_, aligner.notes_ = n_features, (0, 0), ()
    aligner.mean_x_ = aligner.mean_y_ = np.zeros(n_features)
    aligner.map_x_ = aligner.map_y_ = AffineMap()
    return aligner

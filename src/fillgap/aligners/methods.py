"""The table of methods, and the files of fitted aligners."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import NotFittedError

from fillgap.aligners.balanced import BalancedAligner, RefinedAligner
from fillgap.aligners.base import Aligner
from fillgap.aligners.centring import DimensionRemoval, EmbeddingShift, MeanCentering, Translation
from fillgap.aligners.regression import CCA, OrthogonalProcrustes, RidgeRegression
from fillgap.aligners.spectral import SpectralAligner
from fillgap.aligners.subspace import HyperplaneRotation, SharedSpaceProjection
from fillgap.aligners.transport.laplace import LaplaceTransport
from fillgap.aligners.whitening import GaussianTransport, PCAProjection, Standardisation, Whitening
from fillgap.errors import InputError, make_named
from fillgap.files import read_artifact, write_artifact
from fillgap.maps import AffineMap

#: The class name in kebab case without "Aligner".
METHODS: Final[dict[str, type[Aligner]]] = {
    "balanced": BalancedAligner,
    "refined": RefinedAligner,
    "spectral": SpectralAligner,
    "mean-centering": MeanCentering,
    "embedding-shift": EmbeddingShift,
    "standardisation": Standardisation,
    "whitening": Whitening,
    "pca-projection": PCAProjection,
    "dimension-removal": DimensionRemoval,
    "gaussian-transport": GaussianTransport,
    "laplace-transport": LaplaceTransport,
    "orthogonal-procrustes": OrthogonalProcrustes,
    "ridge-regression": RidgeRegression,
    "cca": CCA,
    "shared-space-projection": SharedSpaceProjection,
    "hyperplane-rotation": HyperplaneRotation,
    "translation": Translation,
}


def make_aligner(name: str, **parameters: object) -> Aligner:
    """Return a new aligner of the method called `name`.

    Raises
    ------
    InputError
        If there is no such method or it has no such parameter; near names are offered.
    """
    return make_named(METHODS, "method", name, parameters, otherwise="fillgap methods lists them.")


def method_name(aligner: Aligner) -> str:
    """Return the name of an aligner's method: its class name where the table has none."""
    names = {cls: name for name, cls in METHODS.items()}
    return names.get(type(aligner), type(aligner).__name__)


_MEANS = ("mean_x_", "mean_y_")
_PARTS = ("center", "matrix", "offset")


@dataclass(frozen=True)
class Provenance:
    """Where an aligner comes from, kept in its file.

    Attributes
    ----------
    model : str or None
        Name of the model that made the embeddings.
    data_hash : str or None
        Fingerprint of the rows that it was fitted to.
    created : str or None
        Date, as YYYY-MM-DD. Left out by default, so that equal fits give equal files.
    evidence : mapping
        Held-out results, as JSON can hold them.
    skipped_shards : mapping of str to str
        Shards that were left out of the fit because they could not be read, and why.
    """

    model: str | None = None
    data_hash: str | None = None
    created: str | None = None
    evidence: Mapping[str, Any] = field(default_factory=dict)
    skipped_shards: Mapping[str, str] = field(default_factory=dict)


def save_aligner(
    aligner: Aligner,
    path: str | Path,
    *,
    provenance: Provenance | None = None,
    overwrite: bool = False,
) -> Path:
    """Write a fitted aligner to one safetensors file.

    Parameters
    ----------
    aligner : Aligner
        Fitted, and of a class in the table of methods.
    path : str or path
        Where to.
    provenance : Provenance, optional
        Kept in the header.
    overwrite : bool
        Whether an existing file may be replaced.

    Raises
    ------
    NotFittedError
        If the aligner is not fitted.
    InputError
        If the file cannot be written, or the class is not in the table of methods.
    """
    arrays, metadata = aligner_state(aligner, provenance)
    return write_artifact(path, "aligner", arrays, metadata, overwrite=overwrite)


def aligner_state(
    aligner: Aligner, provenance: Provenance | None = None
) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """Return the arrays and the header of an aligner's file. Raises as `save_aligner` does."""
    name = method_name(aligner)
    if name not in METHODS:
        raise InputError(
            f"the aligner must be of a known method, got {name}. Save its maps instead."
        )
    if not hasattr(aligner, "n_features_in_"):
        raise NotFittedError(f"{name} must be fitted before it is saved. Call fit first.")
    metadata = {
        "method": name,
        "parameters": {  # as JSON can hold them
            key: value.tolist() if isinstance(value, (np.generic, np.ndarray)) else value
            for key, value in aligner.get_params().items()
        },
        "n_features": aligner.n_features_in_,
        "n_samples": list(aligner.n_samples_),
        "notes": list(aligner.notes_),
        **{key: value for key, value in vars(provenance or Provenance()).items() if value},
    }
    arrays = {name: np.asarray(getattr(aligner, name)) for name in (*_MEANS, *aligner.extra_arrays)}
    for side in ("x", "y"):
        parts = vars(getattr(aligner, f"map_{side}_", AffineMap()))
        arrays |= {f"map_{side}.{part}": parts[part] for part in _PARTS if parts[part] is not None}
    return arrays, metadata


def load_aligner(path: str | Path) -> Aligner:
    """Return the aligner that `save_aligner` wrote; nothing in the file is executed.

    Its header is `metadata_`, a dict with the method, the parameters, the counts and the evidence.

    Raises
    ------
    InputError
        If the file is missing, damaged, of another kind, or of a newer format version.
    """
    return restore_aligner(path, *read_artifact(path, "aligner"))


def restore_aligner(
    path: str | Path, arrays: dict[str, NDArray[Any]], metadata: dict[str, Any]
) -> Aligner:
    """Return the aligner behind what `aligner_state` gave; `path` is for messages."""
    bad = [name for name, array in arrays.items() if not np.isfinite(array).all()]
    if bad:
        raise InputError(
            f"{path} must be finite numbers, got NaN or infinity in {bad[0]}. Fit again."
        )
    try:
        aligner = make_aligner(metadata["method"], **metadata["parameters"])
        aligner.n_features_in_ = int(metadata["n_features"])
        aligner.n_samples_ = tuple(metadata["n_samples"])
        aligner.notes_ = tuple(metadata["notes"])
        for name in (*_MEANS, *aligner.extra_arrays):
            array = arrays[name]
            setattr(aligner, name, array if array.ndim else array.item())
        if not aligner.mean_x_.shape == aligner.mean_y_.shape == (aligner.n_features_in_,):
            raise ValueError("the means")
        for side in ("x", "y"):
            map_ = AffineMap(**{part: arrays.get(f"map_{side}.{part}") for part in _PARTS})
            map_(np.zeros((1, aligner.n_features_in_)))  # raises where the parts do not fit
            setattr(aligner, f"map_{side}_", map_)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(
            f"{path} must be a whole aligner, got one that lacks or garbles {error}. "
            "It may be of a newer version, or damaged: fit again."
        ) from error
    aligner.metadata_ = metadata
    return aligner

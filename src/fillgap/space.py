"""The space in which images and texts are comparable: an aligner and a calibration, as one."""

from __future__ import annotations

import hashlib
import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fillgap.aligners.base import Aligner
from fillgap.aligners.centring import Translation
from fillgap.aligners.methods import Provenance, aligner_state, restore_aligner
from fillgap.calibration.base import Calibration, Modality, Sides, check_modality
from fillgap.calibration.methods import calibration_state, restore_calibration
from fillgap.errors import (
    InputError,
    InputTypeError,
    as_array,
    check_integer,
    check_matrix,
    unit_rows,
)
from fillgap.files import read_artifact, write_artifact
from fillgap.maps import AffineMap, scale_to_unit
from fillgap.pair import BLOCK_ROWS

Array = NDArray[Any]
#: Dimensions that are believed where nothing but the caller knows them.
_MOST_FEATURES = 2**20
_SIDE = {"image": "images", "text": "texts"}
#: What of the header decides a score.
_DECIDING = ("method", "parameters", "calibration", "n_features", "model")
#: What the names of a file's arrays begin with.
_CALIBRATION, _QUERY_MEAN = "calibration.", "query_mean."


class MixedSpace:
    """What makes images and texts comparable: an aligner, a calibration, and the role of queries.

    Parameters
    ----------
    aligner : Aligner, optional
        Fitted. Left out, rows are only scaled to length one.
    calibration : Calibration, optional
        Fitted to rows that this aligner gave. Left out, scores are aligned cosines.
    n_features : int, optional
        Dimension that goes in; needed where neither an aligner nor a calibration knows it.
    model : str, optional
        Name of the model behind the embeddings.
    query_means : Sides, optional
        Mean unit row of sample query images and query texts, before alignment, each of shape
        (n_features,), where queries are unlike documents: questions against descriptions. Queries
        are then moved so that their mean takes the place of the documents' mean (GR-CLIP,
        arXiv:2507.19054). The aligner must be linear.

    Attributes
    ----------
    n_features, n_components : int
        Dimension that goes in, and dimension of the aligned rows.
    fingerprint : str
        SHA-256 of all that decides a score, in hexadecimal: vectors of another space are refused.
    folds : bool
        Whether `stored` and `asked` are available.
    metadata : dict
        The header of the file that the space was loaded from; empty for one that was made.

    Examples
    --------
    >>> import numpy as np
    >>> space = MixedSpace(n_features=3)
    >>> rows = np.array([[3.0, 0.0, 4.0]])
    >>> stored = space.stored(rows, document="image", query="text")
    >>> float((space.asked(rows, query="text") @ stored.T)[0, 0])
    1.0
    """

    def __init__(
        self,
        aligner: Aligner | None = None,
        calibration: Calibration | None = None,
        *,
        n_features: int | None = None,
        model: str | None = None,
        query_means: Sides | None = None,
    ) -> None:
        if not isinstance(model, str | None):
            raise InputTypeError(f"model must be a name or None, got {model!r}. Pass a string.")
        self.aligner, self.calibration, self.model = aligner, calibration, model
        self.metadata: dict[str, Any] = {}
        for value, kind, what, where in (
            (aligner, Aligner, "aligner", "aligners"),
            (calibration, Calibration, "calibration", "calibration"),
        ):
            if value is not None and not isinstance(value, kind):
                raise InputTypeError(
                    f"the {what} must be a fitted {kind.__name__} or None, got "
                    f"{type(value).__name__}. Pass one of fillgap.{where}."
                )
        arrays: dict[str, Array] = {}
        header: dict[str, Any] = {}
        if aligner is not None:
            arrays, header = aligner_state(aligner)
        if calibration is not None:
            fitted, header["calibration"] = calibration_state(calibration)
            arrays |= {f"{_CALIBRATION}{name}": array for name, array in fitted.items()}
        self._arrays, self._header = arrays, header
        self.n_features = self._dimension(n_features)
        self.query_means = self._checked_means(query_means)
        with warnings.catch_warnings():  # this row is like no image, and says so
            warnings.simplefilter("ignore", UserWarning)
            probe = self._aligned(np.eye(1, self.n_features, dtype=np.float32), "image")
        self.n_components = int(probe.shape[1])
        if calibration is not None and calibration.n_features_in_ != self.n_components:
            raise InputError(
                f"the calibration must be fitted to rows of dimension {self.n_components}, as the "
                f"aligner gives them, got {calibration.n_features_in_}. Fit it to aligned rows."
            )
        self.folds = calibration is None or bool(calibration.folds)
        arrays, header = self.state()
        deciding = {key: header.get(key) for key in _DECIDING}
        digest = hashlib.sha256(json.dumps(deciding, sort_keys=True).encode())
        for name in sorted(arrays):
            array = np.ascontiguousarray(arrays[name])
            digest.update(f"{name} {array.dtype} {array.shape}".encode())
            digest.update(array.tobytes())
        self.fingerprint = digest.hexdigest()

    def align_documents(self, rows: Any, modality: Modality) -> Array:
        """Return documents of one modality as float32 unit rows of shape (n, n_components)."""
        return self._blocks(rows, modality, None)

    def align_queries(self, rows: Any, modality: Modality) -> Array:
        """Return queries of one modality as float32 unit rows of shape (n, n_components)."""
        shift: Array | None = self.query_means.of(modality)
        if shift is not None and self.aligner is not None:
            # From the mean document to the mean query, before alignment.
            at = self.aligner.mean_x_ if modality == "image" else self.aligner.mean_y_
            shift = shift - np.asarray(at)
        return self._blocks(rows, modality, shift)

    def stored(self, rows: Any, *, document: Modality, query: Modality) -> Array:
        """Return what an index keeps of documents for queries of one modality.

        Parameters
        ----------
        rows : array of shape (n, n_features)
            Documents as the model gives them.
        document, query : {"image", "text"}
            Modality of these documents, and of the queries that will be asked of them.

        Returns
        -------
        array of shape (n, n_components + 1), float32
            a·x and b: its inner product with `asked` is the calibrated score. An `InputError` is
            raised where the calibration does not fold.
        """
        return self.stored_aligned(
            self.align_documents(rows, document), document=document, query=query
        )

    def stored_aligned(self, aligned: Array, *, document: Modality, query: Modality) -> Array:
        """Return `stored` for rows that `align_documents` gave already."""
        check_modality(document)
        check_modality(query)
        aligned = check_matrix(aligned, "aligned rows")
        out = np.empty((len(aligned), self.n_components + 1), dtype=np.float32)
        if self.calibration is None:
            out[:, :-1], out[:, -1] = aligned, 0.0
            return out
        a, b = self.calibration.coefficients(aligned, document=document, query=query)
        np.multiply(aligned, a[:, None], out=out[:, :-1], casting="same_kind")
        out[:, -1] = b
        return out

    def asked(self, rows: Any, *, query: Modality) -> Array:
        """Return queries as vectors of shape (n, n_components + 1): their aligned rows and a 1."""
        aligned = self.align_queries(rows, query)
        return np.concatenate([aligned, np.ones((len(aligned), 1), dtype=np.float32)], axis=1)

    def calibrate(
        self, scores: Any, *, query: Modality, document: Modality, documents: Any | None = None
    ) -> Array:
        """Return calibrated scores of aligned cosines.

        Parameters
        ----------
        scores : array of shape (n_queries, n_documents)
        query, document : {"image", "text"}
        documents : array of shape (n_documents, n_components), optional
            The aligned documents, where `calibration.needs_documents` says so.
        """
        if self.calibration is None:
            check_modality(document)
            check_modality(query)
            return np.asarray(scores)
        return self.calibration.calibrate(
            scores, query=query, document=document, documents=documents
        )

    def state(self) -> tuple[dict[str, Array], dict[str, Any]]:
        """Return the arrays and the description that a file keeps."""
        arrays, header = dict(self._arrays), dict(self._header)
        for name, mean in self.query_means._asdict().items():
            if mean is not None:
                arrays[f"{_QUERY_MEAN}{name}"] = mean
        return arrays, header | {"n_features": self.n_features, "model": self.model}

    def _blocks(self, rows: Any, modality: Modality, shift: Array | None) -> Array:
        rows = check_matrix(rows, _SIDE[check_modality(modality)])
        if rows.shape[1] != self.n_features:
            raise InputError(
                f"{_SIDE[modality]} must be of dimension {self.n_features}, as this space takes "
                f"them, got {rows.shape[1]}. Use embeddings of the model that it was made for."
            )
        out = np.empty((rows.shape[0], self.n_components), dtype=np.float32)
        for start in range(0, rows.shape[0], BLOCK_ROWS):
            block = rows[start : start + BLOCK_ROWS]
            out[start : start + BLOCK_ROWS] = self._aligned(block, modality, shift, start)
        return out

    def _aligned(
        self, block: Any, modality: Modality, shift: Array | None = None, first_row: int = 0
    ) -> Array:
        """Return unit rows of a block, in whatever precision the maps have."""
        what = _SIDE[modality]
        if shift is None and self.aligner is not None:
            return np.asarray(scale_to_unit(self.aligner.apply_block(block, what, first_row)))
        rows = np.asarray(unit_rows(block, what, first_row=first_row))
        if shift is None:
            return rows
        rows = rows - shift.astype(rows.dtype)
        if self.aligner is not None:
            rows = (self.aligner.map_x_ if modality == "image" else self.aligner.map_y_)(rows)
        return np.asarray(scale_to_unit(rows))

    def _dimension(self, n_features: int | None) -> int:
        part: Any = self.aligner if self.aligner is not None else self.calibration
        fitted = None if part is None else int(part.n_features_in_)
        if n_features is None and fitted is None:
            raise InputError(
                "n_features must be given without an aligner and a calibration, got None. "
                "Pass the dimension of the embeddings."
            )
        if n_features is None:
            return int(fitted or 0)
        n_features = check_integer(n_features, "n_features", low=2, high=_MOST_FEATURES)
        if fitted not in (None, n_features):
            raise InputError(
                f"n_features must be {fitted}, as in the fit, got {n_features}. Leave it out."
            )
        return n_features

    def _checked_means(self, means: Sides | None) -> Sides:
        if not isinstance(means, tuple | None) or len(means or (None, None)) != 2:
            raise InputTypeError(
                f"query_means must be Sides(images, texts), got {type(means).__name__}. "
                "Pass None for a modality of which there are no queries."
            )
        if means is None or (means[0] is None and means[1] is None):
            return Sides()
        if self.aligner is None or not self.aligner.linear:
            name = "none" if self.aligner is None else type(self.aligner).__name__
            raise InputError(
                f"query_means must come with a linear aligner, got {name}. "
                "Use for example MeanCentering, or leave query_means out."
            )
        rows, remedy = [], "Pass the mean of unit rows of sample queries."
        for mean in means:
            row = None if mean is None else as_array(mean, "query_means")
            if row is not None and (row.dtype.kind != "f" or row.shape != (self.n_features,)):
                raise InputError(
                    f"query_means must be numbers of shape ({self.n_features},), got {row.dtype} "
                    f"of shape {row.shape}. {remedy}"
                )
            if row is not None and not np.isfinite(row).all():
                raise InputError(f"query_means must be finite, got NaN or infinity. {remedy}")
            rows.append(None if row is None else row.astype(np.float64))
        return Sides(*rows)


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
    provenance : Provenance, optional
        Kept in the header; its model must be that of the space, or None.
    overwrite : bool
        Whether an existing file may be replaced.
    """
    arrays, header = space.state()
    if space.aligner is None:
        # An aligner that changes nothing, for readers that know only aligners.
        identity = Translation(amount=0.0)
        identity.n_features_in_, identity.n_samples_ = space.n_features, (0, 0)
        identity.notes_ = ()
        identity.mean_x_ = identity.mean_y_ = np.zeros(space.n_features)
        identity.map_x_ = identity.map_y_ = AffineMap()
        plain, described = aligner_state(identity)
        arrays, header = plain | arrays, described | header | {"identity": True}
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
    fitted, means = (
        {name.removeprefix(p): array for name, array in arrays.items() if name.startswith(p)}
        for p in (_CALIBRATION, _QUERY_MEAN)
    )
    state = header.get("calibration")
    try:
        space = MixedSpace(
            None if header.get("identity") else aligner,
            None if state is None else restore_calibration(fitted, state),
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

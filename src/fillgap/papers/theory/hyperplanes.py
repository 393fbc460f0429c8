"""Two hyperplanes at an angle: their coordinates, how pairs meet in them, and two repairs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fillgap.errors import InputError, check_integer, check_matrix, check_same_count

Array = NDArray[np.float64]


def check_right_angle(value: ArrayLike, what: str) -> Array:
    """Return the angles `value`, in radians, if all lie strictly between 0 and π/2."""
    angles = np.asarray(value, dtype=np.float64)
    inside = (angles > 0) & (angles < np.pi / 2)
    if not np.all(inside):
        worst = float(angles[~inside].flat[0])
        raise InputError(
            f"{what} must be an angle in radians between 0 and π/2, both excluded, got {worst:g}. "
            "Convert degrees with numpy.radians, and use two different hyperplanes."
        )
    return angles


@dataclass(frozen=True)
class HyperplanePair:
    """Hyperplanes A and B through the origin at angle φ, with C = A ∩ B along the first axes.

    Parameters
    ----------
    n_features : int
        Dimension h of the space, at least 3.
    phi : float
        Angle between the hyperplanes in radians, in (0, π/2).

    Notes
    -----
    Both bases begin with the h − 2 axes of C and end with the direction perpendicular to C, so
    in their coordinates x·y = p·q + αβ cos φ.
    """

    n_features: int
    phi: float

    def __post_init__(self) -> None:
        check_integer(self.n_features, "n_features", low=3)
        check_right_angle(self.phi, "phi")

    @property
    def basis_x(self) -> Array:
        """Orthonormal basis of A, shape (n_features, n_features − 1)."""
        return np.eye(self.n_features)[:, :-1]

    @property
    def basis_y(self) -> Array:
        """Orthonormal basis of B, shape (n_features, n_features − 1)."""
        basis = self.basis_x
        basis[-2:, -1] = np.cos(self.phi), np.sin(self.phi)
        return basis

    @property
    def shared_basis(self) -> Array:
        """Orthonormal basis of C = A ∩ B, shape (n_features, n_features − 2)."""
        return np.eye(self.n_features)[:, :-2]

    @property
    def rotation(self) -> Array:
        """Rotation R by φ in the plane of the normals: Y @ R lies in A, C stays where it is."""
        rotation = np.eye(self.n_features)
        cosine, sine = np.cos(self.phi), np.sin(self.phi)
        rotation[-2:, -2:] = [[cosine, -sine], [sine, cosine]]
        return rotation

    def onto_shared(self, X: Array) -> Array:
        """Return the rows projected on C and scaled to length one again."""
        projected = X @ self.shared_basis @ self.shared_basis.T
        return projected / np.linalg.norm(projected, axis=1, keepdims=True)

    def leaning(self, tilt: float) -> tuple[Array, Array]:
        """Return x in A and y in B that lean by `tilt` from the perpendicular of C, to one side."""
        inside = np.zeros(self.n_features - 1)
        inside[0], inside[-1] = np.sin(tilt), np.cos(tilt)
        return self.basis_x @ inside, self.basis_y @ inside


@dataclass(frozen=True)
class PairAlignment:
    """How well pairs are aligned."""

    matched: float  # share of pairs that are each other's nearest item of the other side
    mean_angle: float  # x_i to y_i, in radians
    max_angle: float


def pair_alignment(X: Array, Y: Array) -> PairAlignment:
    """Return how well row i of X and row i of Y are aligned.

    Parameters
    ----------
    X, Y : array of shape (n_pairs, n_features)
        Unit rows in one space.

    Returns
    -------
    PairAlignment
        `matched`, the share of pairs that are each other's nearest item of the other side in the
        batch; `mean_angle` and `max_angle` from x_i to y_i, in radians.

    Raises
    ------
    InputError
        If the counts differ.
    """
    check_same_count(X, Y, "to compare them")
    similarity = X @ Y.T
    own = np.arange(len(X))
    matched = (similarity.argmax(axis=1) == own) & (similarity.argmax(axis=0) == own)
    angles = chord_angle(X, Y)
    return PairAlignment(float(matched.mean()), float(angles.mean()), float(angles.max()))


def best_response_angles(X: Array, Y: Array, basis: Array) -> Array:
    """Return the angle of each y_i with P_B x_i, the best match of x_i in all of B (`basis`).

    A pair is perfectly aligned within its subspaces only if this angle is 0 both ways.
    """
    best = X @ basis @ basis.T
    return chord_angle(best / np.linalg.norm(best, axis=1, keepdims=True), Y)


def chord_angle(X: Array, Y: Array) -> Array:
    """Return the angle between unit rows, exact for tiny angles where arccos is not."""
    half = np.linalg.norm(X - Y, axis=-1) / 2
    return 2 * np.arcsin(np.minimum(half, 1.0))


def reach(X: NDArray[np.floating], basis: NDArray[np.floating]) -> Array:
    """Return ‖P_B x‖ for each row: no unit vector of B has a larger |x·y| (DG lemma 12).

    Parameters
    ----------
    X : array of shape (n_samples, n_features)
        Unit rows x.
    basis : array of shape (n_features, dimension)
        Orthonormal columns that span B.

    Returns
    -------
    ndarray of shape (n_samples,)
        The bound, reached by y = P_B x / ‖P_B x‖.

    Raises
    ------
    InputError
        If the columns of `basis` are not orthonormal, or not of the dimension of X.
    """
    rows = check_matrix(X, "X")
    columns = np.asarray(basis, dtype=np.float64)
    if columns.ndim != 2 or columns.shape[0] != rows.shape[1] or columns.shape[1] == 0:
        raise InputError(
            f"basis must be of shape ({rows.shape[1]}, dimension) with dimension at least 1, "
            f"got {columns.shape}. Pass one column per dimension of the subspace."
        )
    if not np.allclose(columns.T @ columns, np.eye(columns.shape[1]), atol=1e-8):
        raise InputError(
            "basis must be of orthonormal columns, got columns that are not. "
            "Pass the Q of numpy.linalg.qr(basis)."
        )
    return np.linalg.norm(rows @ columns, axis=1)

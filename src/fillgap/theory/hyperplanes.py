"""Two hyperplanes at an angle: coordinates, the rotation that unites them, and pair alignment."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fillgap._checks import check_integer, check_same_count
from fillgap.theory.inputs import check_right_angle

__all__ = ["HyperplanePair", "PairAlignment", "best_response_angles", "pair_alignment"]

Array = NDArray[np.float64]


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


@dataclass(frozen=True)
class PairAlignment:
    """How well pairs are aligned.

    Attributes
    ----------
    matched : float
        Share of pairs that are each other's nearest item of the other side in the batch.
    mean_angle, max_angle : float
        Mean and largest angle x_i to y_i, in radians.
    """

    matched: float
    mean_angle: float
    max_angle: float


def pair_alignment(X: Array, Y: Array) -> PairAlignment:
    """Return how well row i of X and row i of Y are aligned.

    Parameters
    ----------
    X, Y : array of shape (n_pairs, n_features)
        Unit rows in one space.

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
    """Return the angle of each y_i with the best match of x_i in the whole subspace of Y.

    That best match is P_B x_i / ‖P_B x_i‖. A pair is perfectly aligned within its subspaces only
    if this angle is 0 both ways.

    Parameters
    ----------
    X, Y : array of shape (n_pairs, n_features)
        Unit rows; those of Y lie in the subspace.
    basis : array of shape (n_features, dimension)
        Orthonormal basis of the subspace of Y.

    Returns
    -------
    ndarray of shape (n_pairs,)
        Angles in radians.
    """
    best = X @ basis @ basis.T
    return chord_angle(best / np.linalg.norm(best, axis=1, keepdims=True), Y)


def chord_angle(X: Array, Y: Array) -> Array:
    """Return the angle between unit rows, exact for tiny angles where arccos is not."""
    half = np.linalg.norm(X - Y, axis=-1) / 2
    return 2 * np.arcsin(np.minimum(half, 1.0))

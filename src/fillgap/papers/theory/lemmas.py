"""Two hyperplanes at an angle: coordinates, the rotation that unites them, and pair alignment."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq

from fillgap.errors import InputError, check_integer, check_matrix, check_real, check_same_count
from fillgap.papers.theory.special import check_right_angle

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


_DROP = 45.0  # the integrand is cut where it has fallen by e^-45
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(200)


def reach(X: NDArray[np.floating], basis: NDArray[np.floating]) -> NDArray[np.float64]:
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


def half_space_probability(kappa: float, n_features: int) -> float:
    """Return P(z·c ≥ 0) of a von Mises-Fisher distribution (DG lemma 15).

    It equals ½(1 + L_ν(κ)/I_ν(κ)) with the modified Struve function L, which is not available
    over the range that embeddings need; both half-spaces are integrated instead.

    Parameters
    ----------
    kappa : float
        Concentration κ ≥ 0.
    n_features : int
        Dimension h of the space, at least 2.

    Returns
    -------
    float
        Between ½ and 1.

    Raises
    ------
    InputError
        If κ < 0 or `n_features` < 2.
    """
    behind = log_sphere_integral(kappa, n_features, -1.0, 0.0)
    front = log_sphere_integral(kappa, n_features, 0.0, 1.0)
    return float(1 / (1 + np.exp(behind - front)))


def log_sphere_integral(
    kappa: float, n_features: int, low: float = -1.0, high: float = 1.0
) -> float:
    """Return log ∫ e^{κu} (1 − u²)^{(h−3)/2} du from `low` to `high`.

    That is, up to a constant of the dimension, the mass of e^{κ c·z} over the zone of the sphere
    with low ≤ c·z ≤ high. With u = sin a the integrand is log-concave; it is cut where it has
    fallen by e^-45 from its maximum on the interval, and integrated by Gauss and Legendre.

    Parameters
    ----------
    kappa : float
        Concentration κ ≥ 0.
    n_features : int
        Dimension h of the space, at least 2.
    low, high : float
        Bounds of the zone, −1 ≤ low < high ≤ 1.

    Raises
    ------
    InputError
        If a value is out of range.
    """
    kappa = check_real(kappa, "kappa", low=0)
    m = check_integer(n_features, "n_features", low=2) - 2
    low = check_real(low, "low", low=-1, high=1)
    high = check_real(high, "high", low=low, high=1, open_low=True)
    left, right = float(np.arcsin(low)), float(np.arcsin(high))

    def exponent(a: NDArray[np.float64] | float) -> NDArray[np.float64]:
        return kappa * np.sin(a) + m * np.log(np.cos(a))  # cos stays above 0 in floating point

    top = 2 * kappa / (m + np.hypot(m, 2 * kappa)) if kappa else 0.0
    peak = min(max(float(np.arcsin(top)), left), right)
    summit = float(exponent(peak))

    def below(a: float) -> float:
        return float(exponent(a)) - summit + _DROP

    start = left if below(left) >= 0 else brentq(below, left, peak)
    stop = right if below(right) >= 0 else brentq(below, peak, right)
    half = (stop - start) / 2
    nodes = start + half * (1 + _NODES)
    return float(summit + np.log(half * (_WEIGHTS @ np.exp(exponent(nodes) - summit))))

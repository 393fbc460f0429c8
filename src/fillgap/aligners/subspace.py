"""Aligners for modalities that collapsed into different subspaces: rotation and projection."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fillgap.aligners.base import MomentAligner
from fillgap.errors import InputError, check_choice, check_integer, check_real
from fillgap.linalg import TOLERANCE, Matrix, energy_basis, principal_vectors, shared_dimensions
from fillgap.maps import AffineMap
from fillgap.moments import PairMoments


@dataclass(kw_only=True, eq=False, repr=False)
class SharedSpaceProjection(MomentAligner):
    """Project both modalities on the directions that their subspaces share (SSP).

    Each modality's subspace is spanned by its leading directions with the share `energy` of the
    uncentred energy. A principal vector is shared where the cosine of its angle exceeds
    1 − `tolerance`; both sides are projected on the span of the shared ones.

    Parameters
    ----------
    energy : float
        Share of the energy that spans a subspace, in (0, 1].
    tolerance : float
        How far below 1 the cosine of a shared direction may be.
    n_components : int or None
        Of the shared directions only the ones with the most energy, both modalities counted
        alike; None keeps all. DG selects after normalising each direction's energy by itself,
        which ranks by nothing; here they are ranked by the energy as it is.
    normalize : bool
        Return unit rows; False returns the projection as it is.

    Attributes
    ----------
    cosines_ : array of shape (min(d_X, d_Y),)
        Cosines of the principal angles, largest first.
    overlap_ : int
        How many directions are shared.
    kept_energy_ : array of shape (2,)
        Share of each modality's energy that the projection keeps: images, texts.

    References
    ----------
    DG (arXiv:2510.03268), corollary 4 and appendix C.
    """

    extra_arrays = ("cosines_", "overlap_", "kept_energy_")

    energy: float = 0.99
    tolerance: float = TOLERANCE
    n_components: int | None = None

    def _solve(self, moments: PairMoments) -> None:
        energy = check_real(self.energy, "energy", low=0, high=1, open_low=True)
        tolerance = check_real(self.tolerance, "tolerance", low=0, high=1, open_high=True)
        second = [side.second_moment() for side in (moments.x, moments.y)]
        bases = [energy_basis(G, energy) for G in second]
        self.cosines_, vectors, _ = principal_vectors(bases[0], bases[1])
        self.overlap_ = shared_dimensions(self.cosines_, tolerance)
        if self.overlap_ == 0:
            raise InputError(
                "the subspaces of images and texts must share a direction to project on, got a "
                f"largest cosine of {self.cosines_[0]:.4f} between them. "
                "Use a larger tolerance or energy, or HyperplaneRotation."
            )
        shared = vectors[:, : self.overlap_]
        if self.n_components is not None:
            wanted = check_integer(self.n_components, "n_components", low=1)
            if wanted > self.overlap_:
                self._note(
                    f"n_components is {wanted}, but only {self.overlap_} directions are shared: "
                    "all of them are kept."
                )
            strength = sum(_energy(shared, G) / np.trace(G) for G in second)
            shared = shared[:, np.argsort(-strength, kind="stable")[:wanted]]
        self.kept_energy_ = np.array([_energy(shared, G).sum() / np.trace(G) for G in second])
        self.map_x_ = self.map_y_ = AffineMap(matrix=shared @ shared.T)
        self._note_if_few_rows("SharedSpaceProjection")


@dataclass(kw_only=True, eq=False, repr=False)
class HyperplaneRotation(MomentAligner):
    """Rotate one modality's subspace onto the other's by the direct rotation.

    The subspaces are those of `SharedSpaceProjection`. With principal vectors a_i and b_i at the
    angles γ_i, the rotation turns each a_i into b_i within their plane and leaves everything
    perpendicular to both subspaces alone. It is orthogonal, so nothing changes within the rotated
    modality. Two hyperplanes are the case of one plane: that of their normals.

    Parameters
    ----------
    direction : {"image_to_text", "text_to_image"}
        Which modality is rotated onto the other's subspace.
    energy : float
        Share of the uncentred energy that spans a subspace, in (0, 1].
    normalize : bool
        Return unit rows; False returns the rotated rows, which are unit rows too.

    Attributes
    ----------
    cosines_ : array of shape (min(d_X, d_Y),)
        cos γ_i, largest first.
    left_over_energy_ : float
        Share of the rotated modality's energy in directions of its subspace that found no partner,
        because its subspace is larger; they stay where they are.

    References
    ----------
    DG (arXiv:2510.03268), corollary 3, which proves it and gives no algorithm; the direct
    rotation: Davis and Kahan (1970), "The rotation of eigenvectors by a perturbation. III".
    """

    extra_arrays = ("cosines_", "left_over_energy_")

    direction: str = "image_to_text"
    energy: float = 0.99

    def _solve(self, moments: PairMoments) -> None:
        check_choice(self.direction, "direction", ("image_to_text", "text_to_image"))
        energy = check_real(self.energy, "energy", low=0, high=1, open_low=True)
        sides = (moments.x, moments.y)
        moved, fixed = sides if self.direction == "image_to_text" else sides[::-1]
        second = moved.second_moment()
        bases = energy_basis(second, energy), energy_basis(fixed.second_moment(), energy)
        self.cosines_, a, b = principal_vectors(*bases)
        paired = len(self.cosines_)
        self.left_over_energy_ = float(_energy(a[:, paired:], second).sum() / np.trace(second))
        maps = [AffineMap(matrix=direct_rotation(a[:, :paired], b[:, :paired])), AffineMap()]
        self.map_x_, self.map_y_ = maps if moved is moments.x else maps[::-1]
        self._note_if_few_rows("HyperplaneRotation")


def direct_rotation(a: Matrix, b: Matrix) -> Matrix:
    """Return the orthogonal R with a_i R = b_i that leaves the complement of both spans alone.

    Principal vectors are orthonormal columns with aᵀ b diagonal and not negative.
    """
    cosines = np.einsum("ij,ij->j", a, b)
    sideways = b - a * cosines
    sines = np.linalg.norm(sideways, axis=0)
    turning = sines > 1e-12  # a shared direction has no plane to turn in
    a, cosines, sines = a[:, turning], cosines[turning], sines[turning]
    c = sideways[:, turning] / sines
    stretch = (a * (cosines - 1)) @ a.T + (c * (cosines - 1)) @ c.T
    return np.eye(len(a)) + stretch + (a * sines) @ c.T - (c * sines) @ a.T


def _energy(directions: Matrix, G: Matrix) -> Matrix:
    """Return the energy of a second moment along each direction."""
    return np.einsum("ij,ij->j", directions, G @ directions)

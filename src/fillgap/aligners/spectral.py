"""The spectral method, and the sums behind it: totals, and moments weighted by degree."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from array_api_compat import array_namespace, device
from numpy.typing import NDArray

from fillgap.aligners.base import FitSteps, SumAligner
from fillgap.errors import InputError, check_choice, check_integer, row_scales
from fillgap.linalg import Matrix, fix_signs, leading_svd
from fillgap.maps import AffineMap
from fillgap.moments import gram, precise, to_numpy


@dataclass
class Totals:
    """Counts and sums of the unit rows of both modalities, images first."""

    counts: NDArray[np.int64]  # of shape (2,)
    sums: Matrix  # of shape (2, n_features)

    @classmethod
    def of_block(cls, first_row: int, X: Any | None, Y: Any | None) -> Totals:
        """Return the totals of one block; a side may be missing."""
        n_features = int((X if X is not None else Y).shape[1])  # type: ignore[union-attr]
        totals = cls(np.zeros(2, dtype=np.int64), np.zeros((2, n_features)))
        for side, (block, what) in enumerate(((X, "images"), (Y, "texts"))):
            if block is not None:
                rows, scales = row_scales(block, what, first_row=first_row)
                totals.counts[side] = rows.shape[0]
                rows, scales = precise(rows, first_row), precise(scales, first_row)
                totals.sums[side] = to_numpy(scales @ rows)
        return totals

    def absorb(self, other: Totals) -> None:
        """Add the rows behind `other`, in place."""
        self.counts = self.counts + other.counts
        self.sums += other.sums


@dataclass
class DegreeSums:
    """Second moments of the unit rows, each row weighted by one over its degree."""

    grams: list[Matrix]  # Σ z zᵀ / degree over images and over texts
    lowest: float = np.inf  # the least degree
    absolute: float = 0.0  # sum of |degree| over all rows
    count: int = 0
    eps: float = 0.0  # relative rounding error of the coarsest product that went in

    @classmethod
    def of_block(
        cls, first_row: int, X: Any | None, Y: Any | None, *, totals: Totals, shift: float
    ) -> DegreeSums:
        """Return the sums of one block; a side may be missing."""
        # The degree of an image is its product with the sum of all texts. A shift c in the weights
        # W + c · 1 1ᵀ is written as one more column √c on each side.
        n_columns = totals.sums.shape[1] + (shift > 0)
        sums = cls([np.zeros((n_columns, n_columns)) for _ in range(2)])
        for side, (block, what) in enumerate(((X, "images"), (Y, "texts"))):
            if block is None:
                continue
            xp = array_namespace(block)
            rows, scales = row_scales(block, what, first_row=first_row)
            rows, scales = precise(rows, first_row), precise(scales, first_row)
            other = xp.asarray(totals.sums[1 - side], dtype=rows.dtype, device=device(rows))
            degrees = (rows @ other) * scales + shift * float(totals.counts[1 - side])
            if bool(xp.all(degrees > 0)):  # otherwise no product of this pass will be used
                roots = xp.sqrt(degrees)
                weighted, column = rows * (scales / roots)[:, None], shift**0.5 / roots
                sums.grams[side] = gram(weighted)
                if shift:
                    border = to_numpy(column @ weighted)[:, None]
                    corner = np.array([[float(column @ column)]])
                    sums.grams[side] = np.block([[sums.grams[side], border], [border.T, corner]])
            sums.lowest = min(sums.lowest, float(xp.min(degrees)))
            sums.absolute += float(xp.sum(xp.abs(degrees)))
            sums.count += int(rows.shape[0])
            sums.eps = max(sums.eps, float(xp.finfo(rows.dtype).eps))
        return sums

    def absorb(self, other: DegreeSums) -> None:
        """Add the rows behind `other`, in place."""
        self.grams = [mine + theirs for mine, theirs in zip(self.grams, other.grams, strict=True)]
        self.lowest = min(self.lowest, other.lowest)
        self.absolute += other.absolute
        self.count += other.count
        self.eps = max(self.eps, other.eps)


@dataclass(kw_only=True, eq=False, repr=False)
class SpectralAligner(SumAligner):
    """Embed both modalities by the eigenvectors of their bipartite similarity graph.

    The graph joins every image to every text with weight cos(x_i, y_j) and nothing else. Its
    eigenvectors with the smallest eigenvalues of L = I − D⁻¹A, without the constant one, are the
    new embeddings. They are the singular vectors of D_x^-½ X Yᵀ D_y^-½, a product of two thin
    matrices, so they follow from two d × d matrices of sums: no n × m array, no pairs, and an item
    never seen is embedded by the same linear map, up to the factor 1/degree that unit rows drop.

    Parameters
    ----------
    n_components : int
        How many eigenvectors are kept; fewer, with a note, where the graph has no more.
    negative : {"shift", "raise"}
        What to do where a degree is not clearly positive: add 1 to every weight, with a note, or
        refuse.
    normalize : bool
        Return unit rows; False returns the linear image, which is each eigenvector entry times the
        degree of its row.

    Attributes
    ----------
    eigenvalues_ : array of shape (n_components,)
        Of L, ascending.
    shift_ : float
        What was added to every weight: 0 or 1.

    References
    ----------
    FG (arXiv:2505.03703), section 2.1.1; Dhillon (2001), "Co-clustering documents and words using
    bipartite spectral graph partitioning", for the singular vectors.
    """

    passes = 2
    extra_arrays = ("shift_", "eigenvalues_")

    n_components: int = 60
    negative: str = "shift"

    def fit_steps(self) -> FitSteps:
        """Yield what the totals are, then the moments weighted by degree, and solve."""
        check_integer(self.n_components, "n_components", low=1)
        check_choice(self.negative, "negative", ("shift", "raise"))
        totals: Totals = yield Totals.of_block
        sums: DegreeSums = yield partial(DegreeSums.of_block, totals=totals, shift=0.0)
        self.shift_ = 0.0
        if sums.lowest <= 1e-6 * sums.absolute / sums.count:
            if self.negative == "raise":
                raise InputError(
                    f"the degrees of the graph must be positive, got {sums.lowest:.3g}. "
                    "Use negative='shift', or a method that needs no graph."
                )
            # 1 and not just enough: with any smaller shift the constant vector need not be the
            # first, and dropping the first would drop meaning.
            self.shift_ = 1.0
            self._note(
                f"the graph has a degree of {sums.lowest:.3g}, which is not clearly positive: "
                "1 was added to every weight."
            )
            sums = yield partial(DegreeSums.of_block, totals=totals, shift=self.shift_)
        self.n_samples_ = (int(totals.counts[0]), int(totals.counts[1]))
        self.n_features_in_ = totals.sums.shape[1]
        self.mean_x_, self.mean_y_ = totals.sums / totals.counts[:, None]
        self._solve(sums, totals)

    def _solve(self, sums: DegreeSums, totals: Totals) -> None:
        (root_x, inverse_x), (root_y, inverse_y) = (_roots(G, sums) for G in sums.grams)
        s_x, s_y = totals.sums
        if self.shift_:
            s_x, s_y = (np.append(s, n) for s, n in zip(totals.sums, totals.counts, strict=True))
        M, u, v = root_x @ root_y.T, root_x @ s_y, root_y @ s_x
        # The first singular pair, near (u, v), is the constant vector of the graph, at 1: a few
        # power steps take the rounding of the sums out of it, which would outweigh the others.
        for _ in range(4):
            u = M @ (v / np.linalg.norm(v))
            v = M.T @ (u / np.linalg.norm(u))
        u = u / np.linalg.norm(u)
        M -= np.outer(u, u @ M)
        wanted = self.n_components
        U, S, Vt = leading_svd(M, wanted)
        rank = int(np.sum(S > 1e-10))
        kept = min(wanted, rank)
        if not kept:
            raise InputError(
                "the graph must have a non-trivial eigenvector, got similarities of rank one. "
                "Look for duplicated or collapsed embeddings."
            )
        if kept < wanted:
            self._note(
                f"n_components is {wanted}, but the graph has only {rank} non-trivial "
                f"eigenvectors: {kept} kept."
            )
        self.eigenvalues_ = 1 - S[:kept]
        d = self.n_features_in_
        self.map_x_, self.map_y_ = (
            AffineMap(matrix=B[:d], offset=B[d] if self.shift_ else None)
            for B in fix_signs(inverse_x @ U[:, :kept], inverse_y @ Vt[:kept].T)
        )

    def _map_rows(self, rows: Any, what: str) -> Any:
        other = self.mean_y_ if what == "images" else self.mean_x_
        degrees = AffineMap(matrix=other[:, None])(rows)[:, 0] + self.shift_
        low = int((degrees <= 0).sum())
        if low:
            warnings.warn(
                f"{low} of {rows.shape[0]} {what} have a degree that is not positive: they are "
                "unlike what the aligner was fitted to, and embedded without the degree.",
                stacklevel=5,
            )
        return super()._map_rows(rows, what)


def _roots(G: Matrix, sums: DegreeSums) -> tuple[Matrix, Matrix]:
    """Return R of shape (rank, d) with G = Rᵀ R, and its pseudo-inverse of shape (d, rank)."""
    values, vectors = np.linalg.eigh(G)
    # Directions below the rounding error of the products are noise; cutting more than that moves
    # the result (a relative cut-off of 1e-8 already by 3e-4 in cosine).
    kept = values > max(sums.count * np.finfo(np.float64).eps, sums.eps) * values[-1]
    scale, basis = np.sqrt(values[kept]), vectors[:, kept]
    return scale[:, None] * basis.T, basis / scale

"""A fit is a reduction over blocks: in memory, from files, and merged from shards in any order."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aligner_table import ROWS, Row
from conftest import make_gapped
from fillgap.aligners import Aligner, BalancedAligner, SpectralAligner
from fillgap.aligners.base import SumAligner, drive
from fillgap.errors import InputError
from fillgap.io import open_rows, save_rows
from fillgap.pair import BLOCK_ROWS, RowSource

SUMS = [row for row in ROWS if isinstance(row.make(), SumAligner)]
from_sums = pytest.mark.parametrize("row", SUMS, ids=lambda row: row.name)


def cosines(aligner: Aligner, X: np.ndarray, Y: np.ndarray) -> np.ndarray:
    Z = np.vstack(aligner.transform_pair(X, Y)).astype(np.float64)
    Z /= np.linalg.norm(Z, axis=1, keepdims=True)
    return Z @ Z.T


@from_sums
@pytest.mark.parametrize("seed", range(4))
def test_shards_merged_in_any_order_give_the_same_maps(row: Row, seed: int) -> None:
    X, Y = make_gapped(240, 16, seed=5)
    expected = cosines(row.make().fit(X, Y), X, Y)
    rng = np.random.default_rng(seed)
    edges = np.sort(rng.choice(np.arange(1, 240), size=5, replace=False))
    shards = list(zip(np.split(X, edges), np.split(Y, edges), [0, *edges], strict=True))

    def reduce(function: Callable[[int, Any, Any], Any]) -> Any:
        # A worker gets the function by pickle, and sends its sums back the same way.
        function = pickle.loads(pickle.dumps(function))
        parts = [function(int(first), x, y) for x, y, first in shards]
        total = parts.pop(int(rng.integers(len(parts))))
        for place in rng.permutation(len(parts)):
            total.absorb(parts[place])
        return total

    aligner = row.make()
    aligner._reset()
    drive(aligner.fit_steps(), reduce)
    assert aligner.n_samples_ == (240, 240)
    np.testing.assert_allclose(cosines(aligner, X, Y), expected, atol=1e-8)


@from_sums
@pytest.mark.parametrize("suffix", ["npy", "parquet"])
def test_files_are_fitted_in_blocks_as_arrays_are(row: Row, suffix: str, tmp_path: Path) -> None:
    X, Y = make_gapped(BLOCK_ROWS + 300, 6, seed=1)
    Y = Y if row.make().needs_pairs else Y[: BLOCK_ROWS // 2]
    for name, side in (("x", X), ("y", Y)):
        save_rows(tmp_path / f"{name}.{suffix}", side)
    files = [open_rows(tmp_path / f"{name}.{suffix}") for name in "xy"]
    parameters = {"n_components": 4} if "n_components" in row.make().get_params() else {}
    if row.name == "dimension-removal":
        parameters = {"n_removed": 2}
    made = [row.make().set_params(**parameters) for _ in range(2)]
    expected = cosines(made[0].fit(X, Y), X[:200], Y[:200])
    got = cosines(made[1].fit(*files), X[:200], Y[:200])
    np.testing.assert_allclose(got, expected, atol=1e-9)


class Recording:
    """A source that remembers which blocks were asked for, and how many it gave at once."""

    def __init__(self, rows: np.ndarray) -> None:
        self.rows, self.shape, self.dtype, self.name = rows, rows.shape, rows.dtype, "recorded"
        self.sizes: list[int] = []

    def iter_blocks(self, block_rows: int):
        for start in range(0, len(self.rows), block_rows):
            block = self.rows[start : start + block_rows]
            self.sizes.append(len(block))
            yield block


@pytest.mark.parametrize(("make", "passes"), [(BalancedAligner, 1), (SpectralAligner, 2)])
def test_a_fit_reads_as_often_as_it_says_and_never_more_than_a_block(
    make: type[Aligner], passes: int
) -> None:
    rng = np.random.default_rng(0)
    X, Y = (Recording(rng.normal(size=(2 * BLOCK_ROWS + 5, 4)) + 3) for _ in range(2))
    assert isinstance(X, RowSource)
    aligner = make().set_params(n_components=2)
    aligner.fit(X, Y)
    assert make.passes == passes
    for side in (X, Y):
        assert side.sizes == [BLOCK_ROWS, BLOCK_ROWS, 5] * passes


def test_progress_counts_all_rows() -> None:
    X, Y = make_gapped(BLOCK_ROWS + 9, 4, seed=0)
    seen = []
    BalancedAligner().fit(X, Y, progress=lambda done, total, what: seen.append((done, total)))
    n = len(X)
    assert seen == [(BLOCK_ROWS, 2 * n), (n, 2 * n), (n + BLOCK_ROWS, 2 * n), (2 * n, 2 * n)]


def test_a_bad_row_deep_in_a_file_is_named_by_its_number(tmp_path: Path) -> None:
    X, Y = make_gapped(BLOCK_ROWS + 50, 4, seed=0)
    X[BLOCK_ROWS + 7] = np.nan
    save_rows(tmp_path / "x.npy", X)
    with pytest.raises(InputError, match=f"NaN or infinity in row {BLOCK_ROWS + 7}"):
        BalancedAligner().fit(open_rows(tmp_path / "x.npy"), Y)


def test_bad_rows_of_a_block_are_counted_beyond_a_strip() -> None:
    X = np.random.default_rng(0).normal(size=(2000, 4)).astype(np.float32)
    fitted = BalancedAligner().fit(X, X + 1)
    bad = X.copy()
    bad[[700, 1900]] = np.nan
    with pytest.raises(InputError, match=r"NaN or infinity in row 10700 \(2 such rows"):
        fitted.apply_block(bad, "images", 10_000)
    whole, parts = fitted.apply_block(X, "images"), [fitted.transform(part) for part in X[:, None]]
    np.testing.assert_allclose(whole, np.concatenate(parts), atol=1e-6)

"""The kernel against whole matrices: every block size, every fold, ties, samples, tensors."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fillgap import BalancedAligner, kernel
from fillgap.calibration import NNN, Sides
from fillgap.errors import InputError, InputTypeError
from fillgap.evaluation.combine import aligned_sides
from fillgap.evaluation.shortlists import calibrated
from fillgap.kernel import block_rows, copies, level_columns
from fillgap.metrics.scan import scan_pool, scan_queries
from fillgap.pair import EmbeddingPair
from reference_lists import all_scores


def integer_rows(rng, n, d=3):
    """Rows whose normalised products are level often, and exactly: entries of one size."""
    return rng.choice([-1.0, 1.0], size=(n, d))


def items_above(same, other, i, item):
    """Count items above a relevant one of the other modality: in each modality."""
    across = other @ same[i]
    own = np.delete(same @ same[i], i)
    return (own > across[item]).sum(), (across > across[item]).sum()


@pytest.mark.parametrize("n_neighbors", [1, 7, 40])
@pytest.mark.parametrize("memory_bytes", [1, 20_000, 2**26])
def test_neighbours_are_those_of_a_full_sort(rng_pair, n_neighbors, memory_bytes):
    X, Y = rng_pair
    scan = scan_pool(X, Y, n_neighbors=n_neighbors, n_own=5, memory_bytes=memory_bytes)
    Z = np.concatenate([X, Y])
    S = Z @ Z.T
    np.fill_diagonal(S, -np.inf)
    order = np.argsort(-S, axis=1)
    n = len(X)
    for first, queries in ((0, scan.image_queries), (n, scan.text_queries)):
        rows = order[first : first + len(queries.rows)]
        assert np.array_equal(queries.items, rows[:, :n_neighbors])
        expected = np.take_along_axis(S[first:][: len(rows)], rows[:, :n_neighbors], axis=1)
        np.testing.assert_allclose(queries.similarities, expected, atol=1e-12)
        across = rows[:, :n_neighbors] >= n
        assert np.array_equal(queries.other, across if first == 0 else ~across)
        inside = (rows >= n) == bool(first)
        own = np.array([row[kept][:5] for row, kept in zip(rows, inside, strict=True)])
        assert np.array_equal(queries.own_items, own - first)


@pytest.fixture
def rng_pair():
    rng = np.random.default_rng(3)
    X, Y = rng.normal(size=(331, 8)), rng.normal(size=(170, 8)) + 0.3
    return X / np.linalg.norm(X, axis=1)[:, None], Y / np.linalg.norm(Y, axis=1)[:, None]


@settings(max_examples=40, deadline=None)
@given(
    n=st.integers(2, 30),
    m=st.integers(2, 30),
    k=st.integers(1, 8),
    seed=st.integers(0, 999),
    fold=st.sampled_from([1, 3, 32]),
)
def test_level_items_are_counted_not_ordered(n, m, k, seed, fold):
    rng = np.random.default_rng(seed)
    X, Y = integer_rows(rng, n), integer_rows(rng, m)
    index = rng.integers(0, n, m)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kernel, "LONGEST_FOLD", fold)
        scan = scan_pool(X, Y, index, n_neighbors=k, n_own=1)
    shuffle, shuffle_y = rng.permutation(n), rng.permutation(m)
    where = np.argsort(shuffle)
    other = scan_pool(X[shuffle], Y[shuffle_y], where[index[shuffle_y]], n_neighbors=k, n_own=1)
    for a, b, order in (
        (scan.image_queries, other.image_queries, shuffle),
        (scan.text_queries, other.text_queries, shuffle_y),
    ):
        np.testing.assert_array_equal(a.similarities[order], b.similarities)
        np.testing.assert_allclose(a.other[order], b.other, atol=1e-6)
        np.testing.assert_array_equal(a.best_other_rank[order], b.best_other_rank)
    assert sorted(scan.image_queries.mixed_rank) == sorted(other.image_queries.mixed_rank)
    assert sorted(scan.text_queries.cross_rank) == sorted(other.text_queries.cross_rank)


def assert_same(a, b, atol=0.0):
    for field in fields(a):
        first, second = (np.asarray(getattr(s, field.name), dtype=float) for s in (a, b))
        np.testing.assert_allclose(first, second, rtol=0, atol=atol, err_msg=field.name)


def test_collapsed_vectors_see_a_fair_sample():
    X, Y = np.ones((60, 4)), np.ones((40, 4))
    scan = scan_pool(X, Y, n_neighbors=10)
    found = scan.image_queries
    np.testing.assert_allclose(found.other, 40 / 99, rtol=1e-6)
    assert (np.sum(found.items >= 60, axis=1) == 4).all()
    assert (found.items != np.arange(60)[:, None]).all()
    np.testing.assert_array_equal(found.best_other_rank, 1 + 59 / 2)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_equal_rows_are_level_wherever_they_stand(dtype):
    """A matrix product may round the columns at its edges in another way than the others."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(500, 265)).astype(dtype)
    Y = np.tile(rng.normal(size=265), (500, 1)).astype(dtype)
    ranks = scan_pool(X, Y).image_queries.cross_rank
    assert (ranks == 1 + 499 / 2).all()


def test_an_image_and_a_text_that_are_equal_are_level():
    """In single precision, where columns of a product may be rounded in several ways."""
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(40, 265)).astype(np.float32)
    scan = scan_pool(rows[np.arange(300) % 40], rows[np.arange(500) % 37])
    found = scan.image_queries
    of = np.arange(300) % 40
    twins = np.bincount(of, minlength=40)[of] - 1.0  # of an image among the others
    np.testing.assert_array_equal(found.best_other_rank[of < 37], 1 + twins[of < 37] / 2)


@pytest.mark.parametrize("across", [True, False])
@pytest.mark.parametrize("library", ["numpy", "torch"])
def test_rows_apart_by_rounding_alone_are_level(library, across):
    """An aligner's product may round two copies of a row in two ways."""
    rng = np.random.default_rng(2)
    X = rng.normal(size=(60, 24))
    X[30:] = X[rng.integers(0, 30, 30)]
    index = np.repeat(np.arange(60), 3)
    # Three equal texts an image, some images equal, and across: to their texts too.
    Y = np.repeat(X if across else X[:, ::-1] + 0.2, 3, axis=0)
    found = []
    for apart in (0.0, 1e-15):
        sides = [rows * (1 + apart * rng.choice([-1, 1], rows.shape)) for rows in (X, Y)]
        if library == "torch":
            torch = pytest.importorskip("torch")
            sides = [torch.as_tensor(side) for side in sides]
        found.append(scan_pool(*sides, index, n_neighbors=12, n_own=4))
    for side in ("image_queries", "text_queries"):
        exact, rounded = (getattr(scan, side) for scan in found)
        for name in ("mixed_rank", "cross_rank", "best_other_rank", "other"):
            values = [getattr(scan, name) for scan in (rounded, exact)]
            if side == "image_queries" and name in ("mixed_rank", "cross_rank"):
                # Which of the level texts of an image comes first does not matter.
                values = [np.sort(ranks.reshape(60, 3), axis=1) for ranks in values]
            np.testing.assert_allclose(*values, atol=1e-6, err_msg=name)


def test_ranks_of_pairs_with_several_texts():
    rng = np.random.default_rng(5)
    X, Y = rng.normal(size=(20, 5)), rng.normal(size=(47, 5))
    index = rng.integers(0, 18, 47)  # two images have no text
    scan = scan_pool(X, Y, index)
    X, Y = (Z / np.linalg.norm(Z, axis=1)[:, None] for Z in (X, Y))
    queries = scan.image_queries
    assert sorted(queries.pair_item - 20) == list(range(47))
    assert np.array_equal(queries.rows[queries.pair_query], index[queries.pair_item - 20])
    for pair, (query, item) in enumerate(
        zip(queries.pair_query, queries.pair_item - 20, strict=True)
    ):
        own, across = items_above(X, Y, query, item)
        assert queries.cross_rank[pair] == 1 + across
        assert queries.mixed_rank[pair] == 1 + across + own
    texts = scan.text_queries
    assert np.array_equal(texts.pair_item, index)
    assert np.array_equal(texts.groups, index)
    for t in range(47):
        own, across = items_above(Y, X, t, index[t])
        assert texts.mixed_rank[t] == 1 + across + own


def test_relevant_items_that_are_level_follow_one_another():
    X = np.eye(3)[[0, 1]]
    Y = np.eye(3)[[0, 0, 0, 1]]  # three identical captions of image 0
    scan = scan_pool(X, Y, [0, 0, 0, 1])
    assert sorted(scan.image_queries.mixed_rank) == [1, 1, 2, 3]
    strangers = scan_pool(X, Y, [0, 0, 1, 1])  # one of the three belongs elsewhere
    assert sorted(strangers.image_queries.mixed_rank[:2]) == [1.5, 2.5]


def test_a_sample_of_queries_sees_the_whole_pool(rng_pair):
    X, Y = rng_pair
    index = np.random.default_rng(0).integers(0, len(X), len(Y))
    whole = scan_pool(X, Y, index)
    scan = scan_pool(X, Y, index, max_queries=50, random_state=1)
    assert scan.is_sampled
    assert not whole.is_sampled
    for some, every in (
        (scan.image_queries, whole.image_queries),
        (scan.text_queries, whole.text_queries),
    ):
        assert len(some.rows) == 50
        assert np.array_equal(some.items, every.items[some.rows])
        np.testing.assert_allclose(some.similarities, every.similarities[some.rows], atol=1e-12)
        kept = np.isin(every.rows[every.pair_query], some.rows)
        assert np.array_equal(some.pair_item, every.pair_item[kept])
        assert np.array_equal(some.mixed_rank, every.mixed_rank[kept])
        assert np.array_equal(some.rows[some.pair_query], every.rows[every.pair_query][kept])
    pairs = scan_pool(X[:60], Y[:60], max_queries=20)  # row by row: both sides of each
    assert np.array_equal(pairs.image_queries.rows, pairs.text_queries.rows)
    again = scan_pool(X, Y, index, max_queries=50, random_state=1)
    assert np.array_equal(again.text_queries.rows, scan.text_queries.rows)
    other = scan_pool(X, Y, index, max_queries=50, random_state=2)
    assert not np.array_equal(other.text_queries.rows, scan.text_queries.rows)


def test_unpaired_sets_have_no_ranks_of_pairs(rng_pair):
    scan = scan_pool(*rng_pair)
    assert not scan.is_paired
    assert len(scan.image_queries.mixed_rank) == len(scan.text_queries.pair_item) == 0
    equal = scan_pool(EmbeddingPair(rng_pair[1], rng_pair[1], paired=False))
    assert not equal.is_paired


def test_any_queries_any_pool(rng_pair):
    X, Y = rng_pair
    scan = scan_queries(
        Y[:30] * 5, Y[30:], X, pair_query=[0, 0, 4], pair_item=[3, 7, 140], n_neighbors=4
    )
    scores = Y[:30] @ np.concatenate([Y[30:], X]).T
    assert np.array_equal(scan.items, np.argsort(-scores, axis=1)[:, :4])
    assert np.array_equal(scan.other, scan.items >= 140)
    assert scan.share == len(X) / (140 + len(X))
    assert np.array_equal(
        scan.mixed_rank[[0, 2]],
        1 + (scores[[0, 4]] > scores[[0, 4], [3, 140]][:, None]).sum(axis=1),
    )
    assert scan.cross_rank[0] == 1 + (scores[0, :140] > scores[0, 3]).sum()
    assert scan.cross_rank[2] == 1 + (scores[4, 140:] > scores[4, 140]).sum()


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_types_of_numbers(rng_pair, dtype):
    X, Y = (side.astype(dtype) for side in rng_pair)
    before = X.copy(), Y.copy()
    scan = scan_pool(X, Y)
    assert scan.image_queries.similarities.dtype == np.float32
    exact = scan_pool(X.astype(np.float64), Y.astype(np.float64))
    np.testing.assert_allclose(
        scan.image_queries.similarities, exact.image_queries.similarities, atol=1e-6
    )
    mixed = scan_pool(X, Y.astype(np.float64))
    assert mixed.text_queries.similarities.dtype == np.float64
    assert np.array_equal(X, before[0])
    assert np.array_equal(Y, before[1])


@pytest.mark.parametrize("several", [False, True])
def test_tensors_give_what_arrays_give(rng_pair, several):
    torch = pytest.importorskip("torch")
    X, Y = rng_pair
    index = np.random.default_rng(0).integers(0, len(X), len(Y)) if several else None
    level = [integer_rows(np.random.default_rng(seed), 25) for seed in (0, 1)]
    found, exact = scan_pool(*map(torch.as_tensor, level)), scan_pool(*level)
    for a, b in (
        (found.image_queries, exact.image_queries),
        (found.text_queries, exact.text_queries),
    ):
        np.testing.assert_allclose(a.other, b.other, atol=1e-6)
        np.testing.assert_array_equal(a.mixed_rank, b.mixed_rank)
        np.testing.assert_array_equal(a.best_other_rank, b.best_other_rank)
    expected = scan_pool(X, Y, index, n_neighbors=20)
    scan = scan_pool(
        torch.as_tensor(X), torch.as_tensor(Y), index, n_neighbors=20, memory_bytes=100_000
    )
    assert_same(scan.image_queries, expected.image_queries, atol=1e-12)
    assert_same(scan.text_queries, expected.text_queries, atol=1e-12)
    single = scan_pool(torch.as_tensor(X).float(), torch.as_tensor(Y).float(), index)
    np.testing.assert_allclose(
        single.image_queries.similarities,
        expected.image_queries.similarities[:, :10],
        atol=1e-5,
    )


def test_blocks_keep_to_the_budget():
    assert block_rows(40_000, 4, 64 * 2**20) == 64 * 2**20 // 160_000
    assert block_rows(10**9, 4, 2**20) == 16
    with pytest.raises(InputError, match="memory_bytes must be at least 1, got 0"):
        block_rows(10, 4, 0)


def test_memory_is_bounded_by_the_budget(rng_pair):
    import tracemalloc

    rng = np.random.default_rng(0)
    X, Y = (rng.normal(size=(6000, 4)).astype(np.float32) for _ in range(2))
    tracemalloc.start()
    scan_pool(X, Y, n_neighbors=5, max_queries=500, memory_bytes=2**21)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3 * 2**21  # the block, what a core works on, and the rows themselves


def test_progress_counts_queries(rng_pair):
    seen = []
    scan_pool(*rng_pair, memory_bytes=1, progress=lambda *report: seen.append(report))
    assert seen[0] == (16, 331, "comparing")
    assert seen[-1] == (170, 170, "comparing")


def test_refusals(rng_pair):
    X, Y = rng_pair
    with pytest.raises(InputError, match="n_neighbors must be at least 1, got 0"):
        scan_pool(X, Y, n_neighbors=0)
    with pytest.raises(InputError, match="max_queries must be at least 2, got 1"):
        scan_pool(X, Y, max_queries=1)
    with pytest.raises(InputTypeError, match="must be given images and texts, got one ndarray"):
        scan_pool(X)
    broken = Y.copy()
    broken[7, 2] = np.nan
    with pytest.raises(InputError, match="texts must be finite numbers .* in row 7"):
        scan_pool(X, broken)
    torch = pytest.importorskip("torch")
    with pytest.raises(InputTypeError, match="arrays of one library"):
        scan_pool(X, torch.as_tensor(Y))


def slow_copies(rows: np.ndarray) -> tuple[list[int], list[int]]:
    """Compare every row with all before it."""
    found = []
    for i in range(len(rows)):
        earlier = [j for j in range(i) if np.array_equal(rows[i], rows[j])]
        found += [(i, earlier[0])] if earlier else []
    return [i for i, _ in found], [j for _, j in found]


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "longdouble", ">f4"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_copies_are_those_that_a_loop_finds(dtype: str, order: str) -> None:
    rng = np.random.default_rng(0)
    rows = np.asarray(rng.integers(-1, 2, size=(90, 3)) * 0.1, dtype=dtype, order=order)
    copy, first = copies(rows)
    assert (copy.tolist(), first.tolist()) == slow_copies(rows)
    assert 30 < len(copy) < 90
    split = copies(rows[:17], rows[17:17], rows[17:])
    assert [part.tolist() for part in split] == [copy.tolist(), first.tolist()]


def test_rows_that_differ_in_a_few_columns_alone() -> None:
    rng = np.random.default_rng(1)
    rows = np.zeros((400, 300), np.float32)
    rows[np.arange(400), rng.integers(0, 300, 400)] = 1  # most of what is looked at first is zero
    copy, first = copies(rows[:150], rows[150:])
    assert (copy.tolist(), first.tolist()) == slow_copies(rows)
    assert len(copy) > 50


def test_both_zeros_are_equal() -> None:
    copy, first = copies(np.array([[0.0, 1.0], [-0.0, 1.0], [0.0, -1.0]], np.float32))
    assert (copy.tolist(), first.tolist()) == ([1], [0])


def test_rows_of_one_hash_are_still_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = np.array([[1.0], [2.0], [1.0]], np.float32)
    monkeypatch.setattr(kernel, "_hashes", lambda side, *_: np.zeros(len(side), np.uint64))
    assert [part.tolist() for part in copies(rows)] == [[2], [0]]


def test_all_columns_of_copies_are_the_first() -> None:
    rows = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
    scores = np.array([[0.1, 0.2, 0.3], [0.4, 0.5, 0.6]])
    assert level_columns(scores, rows) is scores
    np.testing.assert_array_equal(scores, [[0.1, 0.2, 0.1], [0.4, 0.5, 0.4]])


def test_copies_stay_level_through_an_aligner_and_a_calibration() -> None:
    rng = np.random.default_rng(0)
    images, texts = rng.normal(size=(2, 300, 265)).astype(np.float32)
    texts[100:] = texts[rng.integers(0, 100, 200)]
    copy, first = copies(texts)
    aligner = BalancedAligner().fit(images, texts)
    rows = aligned_sides(aligner, images, texts)
    np.testing.assert_array_equal(rows.texts[copy], rows.texts[first])
    calibration = NNN().fit(Sides(rows.images, rows.texts), Sides(rows.images, rows.texts))
    scores = all_scores({"image": rows.images, "text": rows.texts}, calibrated(calibration))
    np.testing.assert_array_equal(
        scores["image"]["text"][:, copy], scores["image"]["text"][:, first]
    )

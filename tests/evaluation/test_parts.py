"""Splits, two-sided pools, tests and estimates, each against its definition."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from fillgap.errors import InputError
from fillgap.evaluation import held_out_splits, paired_permutation_test
from fillgap.evaluation.judge import (
    IMAGE_SHARES,
    QueryValues,
    draw_two_sided,
    two_sided_ndcg,
)
from fillgap.evaluation.statistics import estimates, holm, mean_of_directions, per_image
from fillgap.pair import EmbeddingPair
from worlds import captioned, make_gapped


class TestSplits:
    @given(
        n=st.integers(6, 40),
        per_image=st.integers(1, 4),
        test_size=st.floats(0.05, 0.95),
        seed=st.integers(0, 99),
    )
    def test_what_belongs_to_an_image_is_on_one_side(
        self, n: int, per_image: int, test_size: float, seed: int
    ) -> None:
        pair = captioned(n, per_image, seed=seed)
        for train, test in held_out_splits(
            pair, n_splits=3, test_size=test_size, random_state=seed
        ):
            assert not set(train) & set(test)
            assert len(train) + len(test) == n
            assert len(train) >= 2
            assert len(test) >= 2
            sides = [pair.take_images(rows) for rows in (train, test)]
            assert [side.n_texts for side in sides] == [
                len(train) * per_image,
                len(test) * per_image,
            ]

    def test_what_is_drawn(self) -> None:
        pair = captioned(100, 1)
        sizes = [
            len(next(iter(held_out_splits(pair, test_size=share, max_test=bound)))[1])
            for share, bound in ((0.3, 1000), (0.5, 1000), (0.5, 20))
        ]
        assert sizes == [30, 50, 20]
        X, Y = make_gapped(40, 6, seed=0)
        X[20:] = X[:20]
        for train, test in held_out_splits(EmbeddingPair(X, Y), n_splits=20):
            assert not set(train % 20) & set(test % 20)  # equal images stay together
        pair = EmbeddingPair(pair.images, pair.texts[:50], image_index=np.arange(50))
        for train, test in held_out_splits(pair):
            assert max(train.max(), test.max()) < 50  # images without a text are left out
        draws = [[test for _, test in held_out_splits(pair, random_state=7)] for _ in range(2)]
        np.testing.assert_array_equal(*draws)
        assert (draws[0][0] != draws[0][1]).any()

    @pytest.mark.parametrize(
        ("n_images", "n_texts", "options", "message"),
        [
            (30, 7, {}, "must be paired to be judged on held-out rows"),
            (3, 3, {}, "at least 4 different ones to be split, got 3"),
            (30, 30, {"test_size": 1.0}, "test_size must be greater than 0 and less than 1"),
        ],
    )
    def test_refusals(self, n_images, n_texts, options, message) -> None:
        X, Y = make_gapped(30, 6, seed=0)
        with pytest.raises(InputError, match=message):
            next(held_out_splits(EmbeddingPair(X[:n_images], Y[:n_texts]), **options))


class TestSignificance:
    def test_exact_permutation_distribution(self) -> None:
        differences = np.array([0.5, -0.1, 0.3, 0.2, 0.9, -0.4, 0.1])
        signs = np.array(list(itertools.product([-1, 1], repeat=7)))
        exact = np.mean(abs(signs @ differences) >= abs(differences.sum()) - 1e-12)
        got = paired_permutation_test(differences, n_permutations=40_000)
        assert got == pytest.approx(exact, abs=0.01)
        assert paired_permutation_test(np.zeros(50)) == 1.0
        assert paired_permutation_test(np.ones(50), n_permutations=99) == 0.01  # never 0

    def test_a_large_set_is_tested_in_batches(self) -> None:
        rng = np.random.default_rng(0)
        values = rng.normal(0.01, 1.0, size=30_000)
        expected = stats.ttest_1samp(values, 0).pvalue
        assert paired_permutation_test(values, n_permutations=2000) == pytest.approx(
            expected, abs=0.04
        )

    def test_holm(self) -> None:
        corrected = holm([0.01, 0.04, 0.03, 0.005])
        np.testing.assert_allclose(corrected, [0.03, 0.06, 0.06, 0.02])
        np.testing.assert_allclose(holm([0.5, 0.9]), [1.0, 1.0])


class TestEstimates:
    def test_mean_per_query_per_image_and_of_directions(self) -> None:
        sums = QueryValues(4)
        sums.add(np.array([0, 2]), np.array([1.0, np.nan]))
        sums.add(np.array([0, 1]), np.array([0.0, 5.0]))
        np.testing.assert_array_equal(sums.mean(), [0.5, 5.0, np.nan, np.nan])
        values = np.array([1.0, 3.0, np.nan, 5.0])
        groups = np.array([0, 0, 1, 2])
        np.testing.assert_array_equal(per_image(values, groups, 4), [2.0, np.nan, 5.0, np.nan])
        other = np.array([0.0, 7.0, 1.0, np.nan])
        mean = mean_of_directions({"a": values, "b": other}, {"a": groups, "b": np.arange(4)}, 4)
        np.testing.assert_array_equal(mean, [1.0, np.nan, 3.0, np.nan])

    def test_intervals_are_over_images(self) -> None:
        rng = np.random.default_rng(0)
        by_image = rng.normal(size=400)
        groups = np.repeat(np.arange(400), 5)
        values = {"a": by_image[groups], "nan": np.where(groups < 200, np.nan, 1.0)}
        found = estimates(values, groups, n_resamples=2000, random_state=0)
        half = 1.96 * by_image.std() / 20
        assert found["a"].value == pytest.approx(by_image.mean())
        assert found["a"].high - found["a"].low == pytest.approx(2 * half, rel=0.1)
        assert (found["nan"].value, found["nan"].low, found["nan"].high) == (1.0, 1.0, 1.0)


class TestTwoSided:
    def test_each_item_is_in_the_pool_once_and_no_query_is(self) -> None:
        pair = captioned(50, 3)
        pools = draw_two_sided(pair, np.random.default_rng(0))
        assert pools is not None
        index = np.asarray(pair.image_index)
        for share, pool in zip(IMAGE_SHARES, pools, strict=True):
            assert len(pool.images) == round(50 * share)
            shown = np.concatenate([index[pool.documents], pool.images])
            assert np.array_equal(np.sort(shown), np.arange(50))
            assert not set(pool.queries) & set(pool.documents)
            np.testing.assert_array_equal(shown[pool.answer], index[pool.queries])
            np.testing.assert_array_equal(pool.items, index[pool.queries])

    def test_ndcg_against_a_plain_ranking(self) -> None:
        pair = captioned(40, 2)
        pools = draw_two_sided(pair, np.random.default_rng(1))
        assert pools is not None
        for pool in pools:
            got = two_sided_ndcg(pair.images, pair.texts, pool)
            documents = np.vstack([pair.texts[pool.documents], pair.images[pool.images]])
            for query, answer, value in zip(pool.queries, pool.answer, got, strict=True):
                scores = documents @ pair.texts[query] / np.linalg.norm(documents, axis=1)
                rank = 1 + np.sum(scores > scores[answer])
                assert value == pytest.approx(1 / np.log2(1 + rank) if rank <= 10 else 0.0)

    @pytest.mark.parametrize(
        ("n", "n_two", "enough"),
        [(50, 0, False), (18, 9, False), (30, 14, False), (30, 15, True), (900, 199, False),
         (900, 200, True)],
    )  # fmt: skip
    def test_a_few_images_with_two_texts_do_not_decide(
        self, n: int, n_two: int, enough: bool
    ) -> None:
        whole = captioned(n, 1)
        more = np.arange(n) < n_two
        pair = EmbeddingPair(
            whole.images,
            np.concatenate([whole.texts, whole.texts[more] + 0.1]),
            image_index=np.concatenate([whole.image_index, np.asarray(whole.image_index)[more]]),
        )
        assert (draw_two_sided(pair, np.random.default_rng(0)) is not None) == enough

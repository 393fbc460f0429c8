"""LaplaceTransport: input, extension to new images, what the fit says of itself, held-out gain."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from sklearn.base import clone

from conftest import make_gapped
from fillgap.aligners.transport import laplace
from fillgap.aligners.transport.laplace import LaplaceTransport, affine_extension, shift_of_nearest
from fillgap.errors import InputError
from reference import unit

Pair = tuple[np.ndarray, np.ndarray]


@pytest.fixture(scope="module")
def pair() -> Pair:
    return make_gapped(80, 10, seed=0)


def test_images_of_the_fit_go_to_the_means_of_their_texts(pair: Pair) -> None:
    X, Y = pair
    aligner = LaplaceTransport(eta=5.0, extension="nearest", normalize=False).fit(X, Y)
    plan = aligner.plan_.toarray() + aligner.independent_share_ / 80**2
    np.testing.assert_allclose(plan.sum(axis=1), 1 / 80, atol=1e-12)
    np.testing.assert_allclose(aligner.transported_, 80 * plan @ unit(Y), atol=1e-12)
    np.testing.assert_allclose(aligner.transform(X), aligner.transported_, atol=1e-12)
    np.testing.assert_allclose(aligner.transform_y(Y), unit(Y), atol=1e-15)
    assert aligner.objective_.shape == (aligner.n_iter_,)
    assert aligner.converged_
    assert aligner.gap_ <= 1e-5 * aligner.objective_[-2]
    assert not aligner.linear
    assert LaplaceTransport.linear is True
    mapped, texts = LaplaceTransport(eta=5.0, normalize=False).fit(X, Y).transform_pair(X, Y)
    assert np.trace(np.cov(mapped.T)) == pytest.approx(np.trace(np.cov(texts.T)))


def test_without_a_regulariser_it_is_the_best_assignment(pair: Pair) -> None:
    from scipy.optimize import linear_sum_assignment

    X, Y = pair
    aligner = LaplaceTransport(eta=0.0).fit(X, Y)
    columns = linear_sum_assignment(-unit(X) @ unit(Y).T)[1]
    assert np.array_equal(aligner.plan_.toarray().argmax(axis=1), columns)
    np.testing.assert_allclose(aligner.transported_, unit(Y)[columns], atol=1e-12)
    assert (aligner.n_iter_, aligner.converged_) == (2, True)


def test_a_large_eta_sends_all_images_to_the_mean_text(pair: Pair) -> None:
    aligner = LaplaceTransport(eta=1e9, max_iter=5).fit(*pair)
    mean = unit(pair[1]).mean(axis=0)
    np.testing.assert_allclose(aligner.transported_, np.tile(mean, (80, 1)), atol=1e-3)
    assert aligner.independent_share_ > 0.99


def test_the_nearest_extension_row_by_row(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    X, Y = pair
    aligner = LaplaceTransport(eta=5.0, extension="nearest", normalize=False).fit(X, Y)
    new = unit(make_gapped(30, 10, seed=5)[0])
    expected = []
    for x in new:
        near = np.argmin(((aligner.sources_ - x) ** 2).sum(axis=1))
        expected.append(aligner.transported_[near] + x - aligner.sources_[near])
    monkeypatch.setattr(laplace, "BLOCK_BYTES", 8 * 80 * 7)
    np.testing.assert_allclose(aligner.transform(new), expected, atol=1e-12)


def test_the_nearest_extension_keeps_library_and_precision() -> None:
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    sources, targets = unit(rng.normal(size=(20, 4))), unit(rng.normal(size=(20, 4)))
    rows = unit(rng.normal(size=(9, 4)))
    expected = shift_of_nearest(rows, sources, targets)
    got = shift_of_nearest(torch.from_numpy(rows.astype(np.float32)), sources, targets)
    assert isinstance(got, torch.Tensor)
    assert got.dtype == torch.float32
    np.testing.assert_allclose(got.numpy(), expected, atol=1e-6)


def test_the_affine_extension_is_a_scaled_ridge_regression() -> None:
    from sklearn.linear_model import Ridge

    rng = np.random.default_rng(0)
    X, T = rng.normal(size=(60, 4)), rng.normal(size=(60, 3))
    weights = rng.uniform(0.5, 1.5, size=60) / 60
    weights /= weights.sum()
    map_ = affine_extension(X, T, weights, ridge=0.2, spread=2.5)
    centred = X - weights @ X
    penalty = 0.2 * np.trace(centred.T * weights @ centred) / 4
    reference = Ridge(alpha=penalty).fit(X, T, sample_weight=weights)
    mapped = map_(X)
    assert (weights @ (mapped - weights @ mapped) ** 2).sum() == pytest.approx(2.5)
    np.testing.assert_allclose(weights @ mapped, weights @ T, atol=1e-12)
    ratio = map_.matrix / reference.coef_.T
    np.testing.assert_allclose(ratio, ratio[0, 0], rtol=1e-8)
    assert ratio[0, 0] > 0
    level = np.tile(T[0], (60, 1))  # only rounding could be scaled
    same = affine_extension(X, level, weights, ridge=0.2, spread=2.5)
    np.testing.assert_allclose(same(X), level, atol=1e-12)


def test_weights_are_used_and_uniform_ones_need_no_pot(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    X, Y = pair
    pytest.importorskip("ot")
    plain = LaplaceTransport(eta=5.0).fit(X, Y)
    tilted = np.linspace(1, 2, 80) / np.linspace(1, 2, 80).sum()
    weighted = LaplaceTransport(eta=5.0).fit(X, Y, image_weights=tilted)
    plan = weighted.plan_.toarray()
    np.testing.assert_allclose(plan.sum(axis=1), tilted, atol=1e-12)
    np.testing.assert_allclose(weighted.transported_, plan @ unit(Y) / tilted[:, None], atol=1e-12)
    monkeypatch.setitem(sys.modules, "ot", None)
    same = LaplaceTransport(eta=5.0).fit(X, Y, text_weights=np.full(80, 1 / 80))
    np.testing.assert_allclose(same.transported_, plain.transported_, atol=1e-9)
    with pytest.raises(ImportError, match=r"weights, or with unequally .* pip install 'fillgap\["):
        LaplaceTransport().fit(X, Y[:70])


def test_a_sample_is_seeded_and_keeps_pairs_together(pair: Pair) -> None:
    X, Y = pair
    aligner = LaplaceTransport(eta=5.0, max_samples=40, random_state=3).fit(X, Y)
    rows = np.sort(np.random.default_rng(3).choice(80, 40, replace=False))
    assert aligner.n_samples_ == (40, 40)
    np.testing.assert_allclose(aligner.sources_, unit(X)[rows], atol=1e-15)
    direct = LaplaceTransport(eta=5.0).fit(X[rows], Y[rows])
    np.testing.assert_allclose(aligner.transported_, direct.transported_, atol=1e-12)
    other = clone(aligner).set_params(random_state=4).fit(X, Y)
    assert not np.array_equal(other.sources_, aligner.sources_)
    assert clone(aligner).set_params(max_samples=500).fit(X, Y).n_samples_ == (80, 80)


def test_rows_are_read_in_blocks(pair: Pair) -> None:
    class Source:
        shape, dtype, name = (80, 10), np.dtype(np.float64), "source"

        def __init__(self, rows: np.ndarray) -> None:
            self.rows = rows

        def iter_blocks(self, block_rows: int) -> object:
            yield from (self.rows[i : i + 17] for i in range(0, 80, 17))

    X, Y = pair
    for max_samples in (None, 30):
        aligner = LaplaceTransport(eta=5.0, max_samples=max_samples)
        expected = aligner.fit(X, Y).transported_
        assert np.array_equal(aligner.fit(Source(X), Source(Y)).transported_, expected)


def test_no_convergence_is_said_with_the_gap(pair: Pair) -> None:
    aligner = LaplaceTransport(eta=1000.0, max_iter=3)
    aligner.fit(*pair)
    assert "stopped after 3 iterations: its objective is at most" in aligner.notes_[0]
    assert not aligner.converged_
    assert f"{aligner.gap_:.1e}" in aligner.notes_[0]


def test_duplicates_and_disconnected_graphs(pair: Pair) -> None:
    X, Y = pair
    doubled = np.repeat(X[:20], 4, axis=0)
    for similarity in ("knn", "gauss"):
        aligner = LaplaceTransport(eta=5.0, extension="nearest", similarity=similarity, max_iter=20)
        aligner.fit(doubled, np.repeat(Y[:20], 4, axis=0))
        assert np.isfinite(aligner.transform(doubled)).all()
        assert (np.diff(aligner.objective_) <= 1e-12).all()


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"eta": -1.0}, "eta must be at least 0, got -1"),
        ({"alpha": 1.5}, "alpha must be at least 0 and at most 1, got 1.5"),
        ({"reg_type": "speed"}, "reg_type must be one of 'pos', 'disp', got 'speed'"),
        ({"similarity": "rbf"}, "similarity must be one of 'knn', 'gauss', got 'rbf'"),
        ({"extension": "linear"}, "extension must be one of 'affine', 'nearest', got 'linear'"),
        ({"n_neighbors": 0}, "n_neighbors must be at least 1, got 0"),
        ({"n_neighbors": 80}, "n_neighbors must be less than the number of images and of texts"),
        ({"n_neighbors": 30, "max_samples": 30}, "got 30 neighbours of 30 rows"),
        ({"bandwidth": 0.0}, "bandwidth must be greater than 0, got 0"),
        ({"max_iter": 0}, "max_iter must be at least 1, got 0"),
        ({"tol": -1e-9}, "tol must be at least 0"),
        ({"ridge": -1.0}, "ridge must be at least 0"),
        ({"max_samples": 1}, "max_samples must be between 2 and 30000, got 1"),
        ({"random_state": -1}, "random_state must be at least 0, got -1"),
    ],
)
def test_bad_parameters(pair: Pair, parameters: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        LaplaceTransport(**parameters).fit(*pair)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (np.full(79, 1 / 79), r"image_weights must be one number for each of 80 rows, got .*79,"),
        (np.full((80, 1), 1 / 80), "must be one number for each of 80 rows"),
        (np.full(80, 0.5), "image_weights must be of sum 1, got 40. Divide them by their sum."),
        (np.append(np.full(79, 2 / 79), -1.0), "image_weights must be positive, got -1"),
        (np.append(np.full(79, 1 / 79), 0.0), "must be positive, got 0. Leave out rows"),
        (np.append(np.full(79, 1 / 79), np.nan), "image_weights must be positive, got nan"),
    ],
)
def test_bad_weights(pair: Pair, weights: np.ndarray, message: str) -> None:
    with pytest.raises(InputError, match=message):
        LaplaceTransport().fit(*pair, image_weights=weights)
    with pytest.raises(InputError, match="text_weights"):
        LaplaceTransport().fit(*pair, text_weights=weights)


def test_too_many_rows_are_refused_before_they_are_read(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(laplace, "MAX_ROWS", 60)
    with pytest.raises(
        InputError, match=r"at most 60 each .* got 80 and 80. Pass max_samples .* GaussianTransport"
    ):
        LaplaceTransport().fit(*pair)
    assert LaplaceTransport(max_samples=50).fit(*pair).n_samples_ == (50, 50)


def test_held_out_coco(coco: Pair) -> None:
    """Both extensions mix the modalities on rows they never saw, each in its known measure."""
    X, Y = coco
    rows = np.random.default_rng(0).permutation(500)
    train, test = rows[:250], rows[250:]
    reached = {}
    for extension in ("affine", "nearest"):
        aligner = LaplaceTransport(extension=extension).fit(X[train], Y[train])
        A, B = aligner.transform_pair(X[test], Y[test])
        Z = np.vstack([A, B])
        scores = Z @ Z.T
        np.fill_diagonal(scores, -np.inf)
        own = scores[np.arange(500), np.roll(np.arange(500), 250)]
        reached[extension] = ((scores > own[:, None]).sum(axis=1) < 10).mean()
    assert reached["affine"] > reached["nearest"] > 0.38
    assert reached["affine"] == pytest.approx(0.49, abs=0.05)

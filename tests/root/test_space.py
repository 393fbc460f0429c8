"""A mixed space: aligned rows, folded scores, the role of queries, and its file."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from calibration_table import ROWS, Row
from fillgap import (
    BalancedAligner,
    InputError,
    InputTypeError,
    MeanCentering,
    Provenance,
    SpectralAligner,
    load_digit_scenes,
)
from fillgap.aligners import Aligner, LaplaceTransport, Whitening, load_aligner, save_aligner
from fillgap.calibration import NNN, QuantileMap, Sides, ZScore
from fillgap.files import read_artifact, write_artifact
from fillgap.io import open_rows
from fillgap.space import MixedSpace, load_space, save_space
from reference import unit

Pair = tuple[np.ndarray, np.ndarray]
PAIRS = [(q, d) for q in ("image", "text") for d in ("image", "text")]


@pytest.fixture(scope="module")
def aligner(gapped: Pair) -> Aligner:
    return BalancedAligner(n_components=9).fit(*gapped)


@pytest.fixture(scope="module")
def parts(aligner: Aligner, gapped: Pair) -> tuple[Sides, Sides]:
    """Aligned queries, and aligned documents of which some are much like a query."""
    A, B = aligner.transform_pair(*gapped)
    noise = 0.1 * np.random.default_rng(0).normal(size=A[40:].shape)
    return Sides(A[:60], B[:60]), Sides(A[40:] + noise, B[40:] + noise)


def make(row: Row, aligner: Aligner, parts: tuple[Sides, Sides]) -> MixedSpace:
    relevant = {pair: np.repeat(np.arange(40, 60)[:, None], 2, axis=1) - [0, 40] for pair in PAIRS}
    return MixedSpace(aligner, row.make().fit(*parts, relevant=relevant), model="m")


@pytest.fixture(scope="module", params=ROWS, ids=lambda row: row.name)
def space(
    request: pytest.FixtureRequest, aligner: Aligner, parts: tuple[Sides, Sides]
) -> MixedSpace:
    return make(request.param, aligner, parts)


class TestWithEveryCalibration:
    @pytest.mark.parametrize(("query", "document"), PAIRS)
    def test_the_inner_product_is_the_calibrated_score(
        self, space: MixedSpace, gapped: Pair, query: str, document: str
    ) -> None:
        Q, D = gapped[query == "text"][:20] * 7.0, gapped[document == "text"][20:70]
        aligned = space.align_documents(D, document)
        assert aligned.dtype == np.float32
        assert np.abs(np.linalg.norm(aligned, axis=1) - 1).max() < 1e-6
        direct = space.calibrate(
            space.align_queries(Q, query) @ aligned.T,
            query=query,
            document=document,
            documents=aligned,
        )
        if not space.folds:
            with pytest.raises(InputError, match="must be affine in the score to be folded"):
                space.stored(D, document=document, query=query)
            return
        stored = space.stored(D, document=document, query=query)
        asked = space.asked(Q, query=query)
        assert stored.shape == (50, space.n_components + 1)
        assert (stored.dtype, asked.dtype) == (np.float32, np.float32)
        assert np.abs(asked @ stored.T - direct).max() <= 2e-6 * max(1, np.abs(stored).max())
        again = space.stored_aligned(aligned, document=document, query=query)
        assert np.array_equal(again, stored)

    def test_its_file(self, space: MixedSpace, gapped: Pair, tmp_path: Path) -> None:
        path = save_space(space, tmp_path / "s", provenance=Provenance(created="2026-01-31"))
        back = load_space(path)
        assert back.fingerprint == space.fingerprint
        assert (back.model, back.n_features, back.n_components) == ("m", 24, 9)
        assert back.metadata["created"] == "2026-01-31"
        assert repr(back.calibration) == repr(space.calibration)
        D = space.align_documents(gapped[0][:30], "image")
        scores = space.align_queries(gapped[1][:5], "text") @ D.T
        arguments = {"query": "text", "document": "image", "documents": D}
        assert np.array_equal(
            back.calibrate(scores, **arguments), space.calibrate(scores, **arguments)
        )
        plain = load_aligner(path)
        assert np.array_equal(plain.transform(gapped[0]), space.aligner.transform(gapped[0]))
        assert save_space(back, tmp_path / "t").read_bytes()
        assert load_space(tmp_path / "t").fingerprint == space.fingerprint


def test_any_difference_in_a_score_changes_the_fingerprint(
    aligner: Aligner, parts: tuple[Sides, Sides], gapped: Pair
) -> None:
    mean = Sides(texts=np.full(24, 0.1))
    spaces = [
        MixedSpace(n_features=24),
        MixedSpace(n_features=24, model="a"),
        MixedSpace(aligner),
        MixedSpace(aligner, model="a"),
        MixedSpace(BalancedAligner(n_components=9, ridge=0.4).fit(*gapped)),
        MixedSpace(aligner, ZScore().fit(*parts)),
        MixedSpace(aligner, ZScore(on="all").fit(*parts)),
        MixedSpace(aligner, NNN().fit(*parts)),
        MixedSpace(aligner, NNN(alpha=0.1).fit(*parts)),
        MixedSpace(aligner, query_means=mean),
    ]
    assert len({space.fingerprint for space in spaces}) == len(spaces)
    assert MixedSpace(aligner).fingerprint == spaces[2].fingerprint


def test_without_an_aligner_rows_are_scaled_and_scores_are_cosines(
    gapped: Pair, tmp_path: Path
) -> None:
    space, (X, Y) = MixedSpace(n_features=24), gapped
    cosines = unit(X[:5]) @ unit(Y[:7]).T
    stored = space.stored(Y[:7], document="text", query="image")
    assert np.abs(space.asked(X[:5], query="image") @ stored.T - cosines).max() < 1e-6
    assert space.folds
    assert np.array_equal(space.calibrate(cosines, query="image", document="text"), cosines)
    space = MixedSpace(None, ZScore().fit(Sides(*gapped), Sides(*gapped)))
    back = load_space(save_space(space, tmp_path / "s"))
    assert back.aligner is None
    assert back.fingerprint == space.fingerprint
    assert np.allclose(load_aligner(tmp_path / "s").transform(X), unit(X))


def test_an_aligners_file_is_a_space_and_no_embeddings(
    aligner: Aligner, gapped: Pair, tmp_path: Path
) -> None:
    path = tmp_path / "a.safetensors"
    save_aligner(aligner, path, provenance=Provenance(model="m"))
    space = load_space(path)
    assert (space.calibration, space.model) == (None, "m")
    assert space.fingerprint == MixedSpace(aligner, model="m").fingerprint
    expected = aligner.transform_y(gapped[1]).astype(np.float32)
    assert np.array_equal(space.align_documents(gapped[1], "text"), expected)
    for _ in range(2):
        with pytest.raises(InputError, match="must hold embeddings, got what fit or recommend wro"):
            open_rows(path)
        save_space(space, path, overwrite=True)


def test_a_collection_of_several_blocks(
    aligner: Aligner, gapped: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    space = MixedSpace(aligner)
    whole = space.align_documents(gapped[0], "image")
    monkeypatch.setattr("fillgap.space.BLOCK_ROWS", 7)
    assert np.allclose(space.align_documents(gapped[0], "image"), whole, atol=1e-6)
    bad = gapped[0].copy()
    bad[40] = 0
    with pytest.raises(InputError, match="images must be non-zero in every row, .* in row 40"):
        space.align_documents(bad, "image")


class TestRoleOfQueries:
    def test_it_is_centring_with_the_queries_own_mean(self, gapped: Pair, tmp_path: Path) -> None:
        X, Y = gapped
        queries, rows = Y + 0.7, unit(Y + 0.7)
        means = Sides(texts=rows.mean(axis=0))
        space = MixedSpace(MeanCentering().fit(X, Y), query_means=means)
        expected = unit(rows - rows.mean(axis=0))
        assert np.abs(space.align_queries(queries, "text") - expected).max() < 1e-6
        assert np.array_equal(
            space.align_documents(Y, "text"), MixedSpace(space.aligner).align_documents(Y, "text")
        )
        assert np.array_equal(space.align_queries(X, "image"), space.align_documents(X, "image"))
        back = load_space(save_space(space, tmp_path / "s"))
        assert back.fingerprint == space.fingerprint
        assert np.array_equal(
            back.align_queries(queries, "text"), space.align_queries(queries, "text")
        )
        for aligner in (BalancedAligner().fit(X, Y), Whitening().fit(X, Y)):
            space = MixedSpace(aligner, query_means=Sides(aligner.mean_x_, aligner.mean_y_))
            for modality, side in (("image", X), ("text", Y)):  # the documents' own means
                got = space.align_queries(side, modality)
                assert np.abs(got - space.align_documents(side, modality)).max() < 1e-5

    def test_what_it_refuses(self, gapped: Pair, aligner: Aligner) -> None:
        mean = Sides(texts=np.zeros(24))
        with pytest.raises(InputError, match="query_means must come with a linear aligner, got no"):
            MixedSpace(n_features=24, query_means=mean)
        bent = LaplaceTransport(max_iter=1).fit(*gapped)
        if not bent.linear:
            with pytest.raises(InputError, match="a linear aligner, got LaplaceTransport"):
                MixedSpace(bent, query_means=mean)
        for bad, words in (
            (np.zeros(3), r"numbers of shape \(24,\), got float64 of shape \(3,\)"),
            (np.full(24, np.nan), "finite, got NaN or infinity"),
        ):
            with pytest.raises(InputError, match=f"query_means must be {words}"):
                MixedSpace(aligner, query_means=Sides(texts=bad))


class TestRefusals:
    def test_parts_that_do_not_fit(self, aligner: Aligner, gapped: Pair, tmp_path: Path) -> None:
        raw = ZScore().fit(Sides(*gapped), Sides(*gapped))
        for parts, options, message in (
            ((aligner, raw), {}, "fitted to rows of dimension 9, .* got 24"),
            ((), {}, "n_features must be given without an aligner"),
            ((aligner,), {"n_features": 8}, "n_features must be 24, as in the fit, got 8"),
            (("balanced",), {}, "the aligner must be a fitted Aligner or None"),
            ((aligner, aligner), {}, "the calibration must be a fitted Calibration"),
        ):
            with pytest.raises((InputError, InputTypeError), match=message):
                MixedSpace(*parts, **options)
        for rows, side, message in (
            (np.ones((2, 5)), "text", "texts must be of dimension 24, .* got 5"),
            (np.ones((2, 24)), "audio", "the modality must be one of 'image', 'text'"),
            (np.full((2, 24), np.nan), "text", "texts must be finite numbers in every row"),
        ):
            with pytest.raises(InputError, match=message):
                MixedSpace(aligner).align_queries(rows, side)
        named, other = MixedSpace(aligner, model="a"), Provenance(model="b")
        with pytest.raises(InputError, match="must be that of the space, 'a', got 'b'"):
            save_space(named, tmp_path / "s", provenance=other)
        assert not list(tmp_path.iterdir())

    @settings(
        suppress_health_check=[HealthCheck.function_scoped_fixture],
        max_examples=50,
        deadline=None,
    )
    @given(data=st.data())
    def test_damage_is_refused_or_harmless(
        self, data: st.DataObject, aligner: Aligner, parts: tuple[Sides, Sides], tmp_path: Path
    ) -> None:
        whole = tmp_path / "whole"
        if not whole.exists():
            fit = QuantileMap(after=NNN(k=3)).fit(*parts)
            save_space(MixedSpace(aligner, fit, model="m"), whole)
        content = bytearray(whole.read_bytes())
        if data.draw(st.booleans(), "truncate"):
            content = content[: data.draw(st.integers(0, len(content) - 1), "length")]
        else:
            content[data.draw(st.integers(0, 3000), "place")] = data.draw(st.integers(0, 255))
        damaged = tmp_path / "damaged"
        damaged.write_bytes(content)
        try:
            load_space(damaged)
        except InputError as error:
            assert re.search("must (be|hold)", str(error))


def of_query(header: Any, **changes: Any) -> None:
    header["calibration"]["parameters"]["after"]["parameters"].update(changes)


CHANGED: list[tuple[str, Callable[[dict[str, Any], Any], Any]]] = [
    ("k is no number", lambda _, header: of_query(header, k="x")),
    ("k is none", lambda _, header: of_query(header, k=None)),
    ("k is negative", lambda _, header: of_query(header, k=-1)),
    ("alpha is a list", lambda _, header: of_query(header, alpha=[])),
    ("on is unknown", lambda _, header: header["calibration"]["parameters"].update(on="x")),
    ("model is a list", lambda _, header: header.update(model=[1])),
    ("deviation of zero", lambda a, _: a.update(dict.fromkeys(OF_TEXT, np.array(0.0)))),
    ("deviations", lambda a, _: a.update(dict.fromkeys(OF_TEXT, np.ones(3)))),
    ("a bank of one axis", lambda a, _: a.update({BANK: np.ones(3, np.float32)})),
    ("a bank of another width", lambda a, _: a.update({BANK: np.ones((3, 2), np.float32)})),
    ("no parameters", lambda _, header: header.update(calibration={"name": "z-score"})),
    ("an unknown array", lambda a, _: a.update({"calibration.text.text.x": np.ones(3)})),
    ("a mean that is a number", lambda a, _: a.update(mean_x_=np.array(1.0))),
]
BANK = "calibration.after.text.bank"
OF_TEXT = ["calibration.text.image.deviation"]


@pytest.mark.parametrize("change", [one for _, one in CHANGED], ids=[name for name, _ in CHANGED])
def test_a_file_that_no_fit_writes_is_refused(
    aligner: Aligner, parts: tuple[Sides, Sides], tmp_path: Path, change: Any
) -> None:
    space = MixedSpace(aligner, ZScore(after=NNN(k=3)).fit(*parts))
    arrays, header = read_artifact(save_space(space, tmp_path / "s"), "aligner")
    assert {BANK, *OF_TEXT} <= arrays.keys()
    change(arrays, header)
    write_artifact(tmp_path / "t", "aligner", arrays, header)
    with pytest.raises(InputError, match="must be a whole"):
        load_space(tmp_path / "t")


def test_making_a_space_says_nothing_of_rows_that_nobody_gave() -> None:
    """Warnings are errors here; the aligner of the scenes warns of rows unlike all of them."""
    scenes = load_digit_scenes()
    aligner = SpectralAligner(n_components=40).fit(scenes.images, scenes.texts)
    with pytest.warns(UserWarning, match="a degree that is not positive"):
        aligner.transform(np.eye(1, scenes.n_features, dtype=np.float32))
    assert MixedSpace(aligner).n_components == 40

"""The index: what is added is found, by the score that the space says, and nothing else goes in."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from filled_index import STAGES, D, N, X, Y, fill, fitted_space
from fillgap import load_digit_scenes
from fillgap.calibration import (
    CSLS,
    NNN,
    QBNorm,
    QuantileMap,
    QueryCentering,
    QueryStandardisation,
    Sides,
    ZScore,
)
from fillgap.cli.app import run
from fillgap.errors import InputError, InputTypeError
from fillgap.search import MixedIndex, create_index, fit_space, index_files, open_index
from fillgap.space import MixedSpace, load_space, save_space


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MixedIndex]:
    """An index that is only read."""
    with create_index(tmp_path_factory.mktemp("filled") / "index", fitted_space()) as made:
        fill(made)
        yield made


def unit(rows: np.ndarray) -> np.ndarray:
    wide = rows.astype(np.float64)
    return wide / np.linalg.norm(wide, axis=-1, keepdims=True)


def expected(space: MixedSpace, stage: str, query: str, row: int) -> dict[str, float]:
    """Return the score of every document, computed one by one; of one of both, the mean."""
    asked = (X if query == "image" else Y)[row : row + 1]
    scores = {}
    for letter, side, rows in (("i", "image", X), ("t", "text", Y)):
        cosines = (unit(asked) @ unit(rows).T)[0]
        if stage != "raw":
            aligned = space.align_documents(rows, side)
            cosines = (space.align_queries(asked, query) @ aligned.T)[0]
            if stage == "calibrated":
                cosines = space.calibrate(
                    cosines[None], query=query, document=side, documents=aligned
                )[0]
        scores |= {f"{letter}{i}": float(score) for i, score in enumerate(cosines)}
    return scores | {"both": (scores["i0"] + scores["t5"]) / 2}


@pytest.mark.parametrize("query", ["image", "text"])
@pytest.mark.parametrize("stage", STAGES)
def test_hits_are_those_of_the_space(filled: MixedIndex, stage: Any, query: str) -> None:
    scores = expected(filled.space, stage, query, 7)
    hits = filled.search(
        **{query: (X if query == "image" else Y)[7]}, k=30, stage=stage, explain=True
    )
    best = sorted(scores.values(), reverse=True)[:30]
    np.testing.assert_allclose([hit.score for hit in hits], best, atol=2e-4)
    for hit in hits:
        assert hit.score == pytest.approx(scores[hit.id], abs=2e-4)
        assert hit.payload == ({} if hit.id == "both" else {"row": int(hit.id[1:])})
        assert getattr(hit.explanation, stage) == pytest.approx(hit.score, abs=2e-4)
    assert [hit.rank for hit in hits] == list(range(1, 31))
    for side in ("image", "text", "image+text"):
        ranks = [hit.rank_in_modality for hit in hits if hit.modality == side]
        assert ranks == list(range(1, len(ranks) + 1))


@pytest.mark.parametrize(
    "calibration",
    [
        QuantileMap(),
        CSLS(),
        QBNorm(dynamic=True),
        QueryCentering(after=ZScore(after=NNN())),
        QueryStandardisation(after=NNN()),
    ],
    ids=["quantile-map", "csls", "qb-norm", "query-centering", "query-standardisation"],
)
def test_calibrations_that_do_not_fold_rank_and_explain_themselves(
    tmp_path: Path, calibration: Any
) -> None:
    aligner = fitted_space().aligner
    rows = Sides(*aligner.transform_pair(X, Y))
    other = MixedSpace(aligner, calibration.fit(rows, rows), model="toy")
    with create_index(tmp_path / "other", other) as index:
        fill(index)
        index.delete(["both"])
        scores = expected(other, "calibrated", "text", 7)
        del scores["both"]
        hits = index.search(text=Y[7], k=N, explain=True)  # lists of all documents
        best = sorted(scores.values(), reverse=True)[:N]
        np.testing.assert_allclose([hit.score for hit in hits], best, atol=2e-4)
        raw = index.search(text=Y[7], k=N, stage="raw", explain=True)
        for hit in [*hits, *raw]:
            assert hit.explanation.calibrated == pytest.approx(scores[hit.id], abs=2e-4)


@pytest.mark.parametrize("stage", STAGES)
def test_a_query_of_both_scores_the_mean(filled: MixedIndex, stage: Any) -> None:
    by_image, by_text, both = (
        {hit.id: hit.score for hit in filled.search(**query, k=1000, stage=stage, check_side=False)}
        for query in ({"image": X[3]}, {"text": Y[9]}, {"image": X[3], "text": Y[9]})
    )
    assert len(both) == len(filled)
    for name, score in both.items():
        assert score == pytest.approx((by_image[name] + by_text[name]) / 2, abs=2e-4)


def test_filter_and_k(filled: MixedIndex) -> None:
    everything = filled.search(text=Y[0], k=10**6)
    assert len(everything) == len(filled) == 2 * N + 1
    for kind in ("image", "text", "image+text"):
        some = filled.search(text=Y[0], k=10**6, modalities=kind)
        assert [hit.id for hit in some] == [h.id for h in everything if h.modality == kind]


def test_an_encoder_that_cannot_be_is_refused_before_anything_is_built(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(InputError, match="the encoder must be one of 'digit-scenes', 'clip'"):
        create_index(tmp_path / "index", fitted_space(), encoder="nonsense:model")
    words = ["index", *written_sides(tmp_path), "-o", str(tmp_path / "index"), "-q"]
    assert run([*words, "--encoder", "nonsense:model"]) == 2
    told = capsys.readouterr().err
    assert "the encoder must be one of 'digit-scenes', 'clip'" in told
    assert told.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["images.npy", "texts.npy"]
    create_index(tmp_path / "index", fitted_space(), encoder="clip:weights-elsewhere").close()


def written_sides(folder: Path) -> list[str]:
    np.save(folder / "images.npy", X)
    np.save(folder / "texts.npy", Y)
    return [str(folder / name) for name in ("images.npy", "texts.npy")]


def test_the_model_is_kept_where_the_space_does_not_say_it(tmp_path: Path) -> None:
    plain = MixedSpace(n_features=D)
    with create_index(tmp_path / "index", plain, model="toy") as made:
        assert made.manifest.model == "toy"
        assert made.stages == ("raw",)
        with pytest.raises(InputError, match="of the model of the index, 'toy', got 'other'"):
            made.add_images(["a"], X[:1], model="other")
        with pytest.raises(InputError, match="no aligner"):
            made.search(image=X[0], stage="aligned")
    with pytest.raises(InputError, match="the model of the embeddings, 'other', got 'toy'"):
        create_index(tmp_path / "another", fitted_space(), model="other")
    assert [path.name for path in tmp_path.iterdir()] == ["index"]
    save_space(plain, tmp_path / "plain.safetensors")
    words = ["index", *written_sides(tmp_path), "-q", "-o", str(tmp_path / "third")]
    assert run([*words, "--space", str(tmp_path / "plain.safetensors"), "--model", "toy"]) == 0
    with open_index(tmp_path / "third") as opened:
        assert opened.manifest.model == "toy"


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("folder", "must be a picture, got a folder"),
        ("none.png", "must be a file or folder that exists"),
        ("empty.png", "must be a picture that can be decoded"),
        ("words.png", "must be a picture that can be decoded"),
        ("large.png", "must be of at most 40000000 pixels, got 7000 × 6000"),
    ],
)
def test_what_is_no_picture_is_one_sentence(
    what: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    create_index(tmp_path / "index", MixedSpace(n_features=128), encoder="digit-scenes").close()
    (tmp_path / "folder").mkdir()
    (tmp_path / "empty.png").touch()
    (tmp_path / "words.png").write_text("a picture says more")
    Image.new("1", (7000, 6000)).save(tmp_path / "large.png")
    assert run(["search", str(tmp_path / "index"), "--image", str(tmp_path / what)]) == 2
    told = capsys.readouterr().err
    assert message in told
    assert told.count("\n") == 1


BAD_QUERIES: list[tuple[dict[str, Any], str]] = [
    ({}, "got neither"),
    ({"text": np.ones(D - 1)}, "must be of dimension 16"),
    ({"text": np.full(D, np.nan)}, "^the text query must be finite .*, got NaN or infinity"),
    ({"image": np.zeros(D)}, "^the image query must be finite .*, got all zeros"),
    ({"image": np.full((1, D), np.inf)}, "^the image query must be finite .*, got NaN or inf"),
    ({"text": np.ones((2, D))}, "must be one vector"),
    ({"text": np.ones(D), "k": 0}, "k must be at least 1"),
    ({"text": np.ones(D), "modalities": "video"}, "got 'video'"),
    ({"text": np.ones(D), "modalities": []}, "at least one"),
    ({"text": np.ones(D), "stage": "best"}, "got 'best'"),
]


@pytest.mark.parametrize(("query", "message"), BAD_QUERIES)
def test_bad_queries(filled: MixedIndex, query: dict[str, Any], message: str) -> None:
    with pytest.raises((InputError, InputTypeError), match=message):
        filled.search(check_side=False, **query)


def test_what_lies_on_the_other_side_is_refused(filled: MixedIndex) -> None:
    words = "must be .* lie where text embeddings of this model lie. "
    with pytest.raises(InputError, match=f"^image queries {words}Ask with text"):
        filled.search(image=Y.mean(axis=0))
    with pytest.raises(InputError, match=f"^images {words}Pass them as texts"):
        filled.add_images([f"new{i}" for i in range(N)], Y)


BAD_DOCUMENTS: list[tuple[dict[str, Any], str]] = [
    ({"ids": ["a", "a"]}, "got 'a' twice"),
    ({"ids": ["a"]}, "one for each of the 2"),
    ({"ids": ["a", ""]}, "1 to 1024 characters"),
    ({"ids": ["a", "b\0"]}, "without NUL"),
    ({"ids": ["a", "\ud800"]}, "characters of text"),
    ({"ids": ["a", 3]}, "must be a list of strings"),
    ({"payloads": [{}]}, "one for each of the 2"),
    ({"payloads": [{}, {"x": float("nan")}]}, "what JSON can hold"),
    ({"payloads": [{}, "x"]}, "must be mappings"),
    ({"model": "another"}, "of the model of the index, 'toy'"),
    ({"images": np.full((2, D), np.nan)}, "NaN"),
    ({"images": np.ones((2, 3))}, "dimension 16"),
]


@pytest.mark.parametrize(("change", "message"), BAD_DOCUMENTS)
def test_bad_documents(filled: MixedIndex, change: dict[str, Any], message: str) -> None:
    good = {"ids": ["a", "b"], "images": X[:2]}
    with pytest.raises((InputError, InputTypeError), match=message):
        filled.add_images(**{**good, **change})
    assert len(filled) == 2 * N + 1


def test_a_damaged_description_is_one_sentence(tmp_path: Path) -> None:
    folder = tmp_path / "index"
    create_index(folder, fitted_space()).close()
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(manifest | {"format_version": 99}))
    with pytest.raises(InputError, match="Upgrade fillgap"):
        open_index(folder)
    wrong = {"options": [1], "notes": "none", "encoder": 5, "name": None, "fields": "raw"}
    for name, value in wrong.items():
        (folder / "manifest.json").write_text(json.dumps(manifest | {name: value}))
        with pytest.raises(InputError, match=rf"must be a whole .* \({name} is no "):
            open_index(folder)
    (folder / "manifest.json").write_text(json.dumps(manifest))
    whole = (folder / "space.safetensors").read_bytes()
    for broken in (whole[: len(whole) // 2], b""):
        (folder / "space.safetensors").write_bytes(broken)
        with pytest.raises(InputError, match="must be"):
            open_index(folder)


def test_the_space_of_an_index_is_that_of_its_folder(filled: MixedIndex, tmp_path: Path) -> None:
    assert load_space(filled.path).fingerprint == filled.space.fingerprint
    with pytest.raises(InputError, match="must be a file, got a folder"):
        load_space(tmp_path)


def test_only_an_index_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "letter.txt").write_text("dear")
    for overwrite, message in ((False, "must be a new name"), (True, "must be an index")):
        with pytest.raises(InputError, match=message):
            create_index(tmp_path / "precious", fitted_space(), overwrite=overwrite)
    assert (tmp_path / "precious" / "letter.txt").read_text() == "dear"


def test_the_space_fitted_to_a_collection_shows_both_to_queries_that_are_new() -> None:
    """Each of 1000 scenes is asked for by a caption whose own scene has no caption in the index."""
    scenes = load_digit_scenes("fitting")
    half = np.random.default_rng(0).permutation(scenes.n_images)
    told, asked = half[::2], half[1::2]
    X, Y, Q = scenes.images, scenes.texts[::2][told], scenes.texts[1::2][asked]
    space = fit_space(X, Y)
    question = space.asked(Q, query="text")
    of_images, of_texts = (
        question @ space.stored(rows, document=side, query="text").T
        for rows, side in ((X, "image"), (Y, "text"))
    )
    together = np.concatenate([of_images, of_texts], axis=1)
    first = np.argsort(-together, axis=1)[:, :10]
    exposure = (first < len(X)).mean() / (len(X) / together.shape[1])
    assert 0.8 <= exposure <= 1.25
    found = (first == asked[:, None]).any(axis=1).mean()
    alone = (np.argsort(-of_images, axis=1)[:, :10] == asked[:, None]).any(axis=1).mean()
    assert found > 0.75 * alone


N_IMAGES, N_TEXTS = 6, 30
OWNERS = np.repeat(np.arange(N_IMAGES), 5)[::-1]
WORDS = [f"caption {k}" for k in range(N_TEXTS)]


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    """Five captions an image, in float16, in another order than the images."""
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(N_IMAGES, 8))
    np.save(tmp_path / "i.npy", (rows + 0.4).astype(np.float16))
    np.save(tmp_path / "t.npy", (rows[OWNERS] + 0.2 * rng.normal(size=(N_TEXTS, 8))).astype("f2"))
    np.save(tmp_path / "x.npy", OWNERS)
    (tmp_path / "words.txt").write_text("\n".join(WORDS) + "\n", encoding="utf-8")
    return [str(tmp_path / name) for name in ("i.npy", "t.npy")]


def owners(index: MixedIndex) -> list[str | None]:
    return [index.get(f"text:{k}").payload.get("image") for k in range(N_TEXTS)]


def test_texts_name_their_image_and_hold_their_words(files: list[str], tmp_path: Path) -> None:
    words = ["--image-index", str(tmp_path / "x.npy"), "--captions", str(tmp_path / "words.txt")]
    assert run(["index", *files, *words, "-o", str(tmp_path / "made"), "--json"]) == 0
    with open_index(tmp_path / "made") as index:
        assert owners(index) == [f"image:{owner}" for owner in OWNERS]
        assert [index.get(f"text:{k}").payload["caption"] for k in range(N_TEXTS)] == WORDS


def test_without_them_nothing_is_made_up(files: list[str], tmp_path: Path) -> None:
    index_files(*files, tmp_path / "made")
    with open_index(tmp_path / "made") as index:
        assert owners(index) == [None] * N_TEXTS
        assert {index.get(f"text:{k}").payload["caption"] for k in range(N_TEXTS)} == {""}


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"image_index": OWNERS[:-1]}, "one row number for each of the 30 texts"),
        ({"image_index": OWNERS + 1}, "between 0 and 5, got 6 for text 0"),
        ({"image_index": OWNERS - 1}, "between 0 and 5, got -1 for text"),
        ({"captions": WORDS[:-1]}, "captions must be of length 30, one for each row, got 29"),
    ],
)
def test_what_does_not_fit_leaves_nothing(
    files: list[str], tmp_path: Path, given: dict[str, object], words: str
) -> None:
    with pytest.raises(InputError, match=words):
        index_files(*files, tmp_path / "made", **given)
    assert not (tmp_path / "made").exists()


def test_the_bundled_scenes_bring_their_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], files: list[str]
) -> None:
    words = ["--image-index", str(tmp_path / "x.npy"), "-o", str(tmp_path / "made")]
    assert run(["index", "--demo", *words]) == 2
    assert "must be given with FOLDER, got --demo" in capsys.readouterr().err

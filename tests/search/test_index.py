"""The index: what is added is found, by the score that the space says, and nothing else goes in."""

from __future__ import annotations

import json
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
from fillgap.errors import InputError
from fillgap.search import MixedIndex, create_index, fit_space, index_files, open_index
from fillgap.space import MixedSpace, load_space, save_space


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


NOT_FOLDING = [
    QuantileMap(), CSLS(), QBNorm(dynamic=True), QueryCentering(after=ZScore(after=NNN())),
    QueryStandardisation(after=NNN()),
]  # fmt: skip


@pytest.mark.parametrize("calibration", NOT_FOLDING, ids=lambda made: type(made).__name__)
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
def test_a_query_of_both_scores_the_mean_and_a_filter_keeps_the_order(
    filled: MixedIndex, stage: Any
) -> None:
    asked: dict[str, Any] = {"k": 10**6, "stage": stage, "check_side": False}
    by_image, by_text, both = (
        {hit.id: hit.score for hit in filled.search(**query, **asked)}
        for query in ({"image": X[3]}, {"text": Y[9]}, {"image": X[3], "text": Y[9]})
    )
    assert len(both) == len(filled) == 2 * N + 1
    for name, score in both.items():
        assert score == pytest.approx((by_image[name] + by_text[name]) / 2, abs=2e-4)
    everything = filled.search(text=Y[9], **asked)
    for kind in ("image", "text", "image+text"):
        some = filled.search(text=Y[9], modalities=kind, **asked)
        assert [hit.id for hit in some] == [h.id for h in everything if h.modality == kind]


def test_what_an_index_says_of_model_and_encoder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plain, target = MixedSpace(n_features=D), tmp_path / "index"
    with create_index(target, plain, model="toy", encoder="clip:elsewhere") as made:
        assert (made.manifest.model, made.stages) == ("toy", ("raw",))
        with pytest.raises(InputError, match="of the model of the index, 'toy', got 'other'"):
            made.add_images(["a"], X[:1], model="other")
        with pytest.raises(InputError, match="no aligner"):
            made.search(image=X[0], stage="aligned")
    save_space(plain, tmp_path / "plain.safetensors")
    np.save(tmp_path / "images.npy", X)
    np.save(tmp_path / "texts.npy", Y)
    words = [str(tmp_path / name) for name in ("images.npy", "texts.npy")]
    words += ["--space", str(tmp_path / "plain.safetensors"), "--model", "toy", "-q", "-o"]
    before = sorted(tmp_path.iterdir())
    assert run(["index", *words, str(tmp_path / "no"), "--encoder", "nonsense:model"]) == 2
    told = capsys.readouterr().err
    assert "the encoder must be one of 'digit-scenes', 'clip'" in told
    assert told.count("\n") == 1
    assert sorted(tmp_path.iterdir()) == before
    assert run(["index", *words, str(tmp_path / "made")]) == 0
    with open_index(tmp_path / "made") as opened:
        assert opened.manifest.model == "toy"
    assert run(["index", "--demo", "--image-index", "x.npy", "-o", str(tmp_path / "no")]) == 2
    assert "must be given with FOLDER, got --demo" in capsys.readouterr().err


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


def test_a_damaged_description_is_one_sentence(tmp_path: Path) -> None:
    create_index(tmp_path / "index", fitted_space()).close()
    assert load_space(tmp_path / "index").fingerprint == fitted_space().fingerprint
    file, space = (tmp_path / "index" / name for name in ("manifest.json", "space.safetensors"))
    manifest, whole = json.loads(file.read_text()), space.read_bytes()
    wrong = {"options": [1], "notes": "none", "encoder": 5, "name": None, "fields": "raw"}
    for content, words in (
        (json.dumps(manifest | {"format_version": 99}), "Upgrade fillgap"),
        *[
            (json.dumps(manifest | {key: bad}), rf"must be a whole .* \({key} is no ")
            for key, bad in wrong.items()
        ],
        ("{", "must be a whole description"),
    ):
        file.write_text(content)
        with pytest.raises(InputError, match=words):
            open_index(tmp_path / "index")
    file.write_text(json.dumps(manifest))
    for broken in (whole[: len(whole) // 2], b""):
        space.write_bytes(broken)
        with pytest.raises(InputError, match="must be"):
            open_index(tmp_path / "index")


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


def test_texts_name_their_image_and_hold_their_words(files: list[str], tmp_path: Path) -> None:
    """As they are given; without them nothing is made up."""
    words = ["--image-index", str(tmp_path / "x.npy"), "--captions", str(tmp_path / "words.txt")]
    assert run(["index", *files, *words, "-o", str(tmp_path / "told"), "--json"]) == 0
    index_files(*files, tmp_path / "untold")
    for name, owners, captions in (
        ("told", [f"image:{owner}" for owner in OWNERS], WORDS),
        ("untold", [None] * N_TEXTS, [""] * N_TEXTS),
    ):
        with open_index(tmp_path / name) as index:
            payloads = [index.get(f"text:{k}").payload for k in range(N_TEXTS)]
        assert [payload.get("image") for payload in payloads] == owners
        assert [payload["caption"] for payload in payloads] == captions


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

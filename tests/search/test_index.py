"""The index: what is added is found, by the score that the space says, and nothing else goes in."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from conftest import make_gapped
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
from fillgap.search import MixedIndex, create_index, fit_space, open_index
from fillgap.search.exact import nearest
from fillgap.search.opening import new_index
from fillgap.space import MixedSpace, load_space, save_space

N, D = 120, 16
NASTY = ["'; DROP TABLE x; --", "<script>alert(1)</script>", "Ünï\n🙂", '"quoted"\\', " "]


@pytest.fixture(scope="module")
def sides() -> tuple[np.ndarray, np.ndarray]:
    X, Y = make_gapped(N, D, seed=3)
    return X.astype(np.float32), Y.astype(np.float32)


@pytest.fixture(scope="module")
def space(sides: tuple[np.ndarray, np.ndarray]) -> MixedSpace:
    return fit_space(*sides, model="toy")


@pytest.fixture
def index(
    tmp_path: Path, space: MixedSpace, sides: tuple[np.ndarray, np.ndarray]
) -> Iterator[MixedIndex]:
    with create_index(tmp_path / "index", space) as made:
        fill(made, sides)
        yield made


def fill(index: MixedIndex, sides: tuple[np.ndarray, np.ndarray]) -> None:
    X, Y = sides
    for part in (slice(0, 50), slice(50, N)):
        rows = range(N)[part]
        index.add_images([f"i{i}" for i in rows], X[part], [{"row": i} for i in rows])
        index.add_texts([f"t{i}" for i in rows], Y[part], [{"row": i} for i in rows])


def unit(rows: np.ndarray) -> np.ndarray:
    wide = rows.astype(np.float64)
    return wide / np.linalg.norm(wide, axis=-1, keepdims=True)


def expected(
    space: MixedSpace, sides: tuple[np.ndarray, np.ndarray], stage: str, query: str, row: int
) -> dict[str, float]:
    """Return the score of every document, computed one by one."""
    X, Y = sides
    asked = (X if query == "image" else Y)[row : row + 1]
    found = {}
    for letter, side, rows in (("i", "image", X), ("t", "text", Y)):
        cosines = (unit(asked) @ unit(rows).T)[0]
        if stage != "raw":
            aligned = space.align_documents(rows, side)
            cosines = (space.align_queries(asked, query) @ aligned.T)[0]
            if stage == "calibrated":
                cosines = space.calibrate(
                    cosines[None], query=query, document=side, documents=aligned
                )[0]
        found |= {f"{letter}{i}": float(score) for i, score in enumerate(cosines)}
    return found


@pytest.mark.parametrize("query", ["image", "text"])
@pytest.mark.parametrize("stage", ["raw", "aligned", "calibrated"])
def test_hits_are_those_of_the_space(
    index: MixedIndex, space: MixedSpace, sides: Any, stage: Any, query: str
) -> None:
    vector = sides[0 if query == "image" else 1][7]
    scores = expected(space, sides, stage, query, 7)
    hits = index.search(**{query: vector}, k=30, stage=stage, explain=True)
    best = sorted(scores.values(), reverse=True)[:30]
    np.testing.assert_allclose([hit.score for hit in hits], best, atol=2e-4)
    for hit in hits:
        assert hit.score == pytest.approx(scores[hit.id], abs=2e-4)
        assert hit.payload == {"row": int(hit.id[1:])}
        assert getattr(hit.explanation, stage) == pytest.approx(hit.score, abs=2e-4)
    assert [hit.rank for hit in hits] == list(range(1, 31))
    for side in ("image", "text"):
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
    tmp_path: Path, space: MixedSpace, sides: tuple[np.ndarray, np.ndarray], calibration: Any
) -> None:
    X, Y = sides
    rows = Sides(space.align_documents(X, "image"), space.align_documents(Y, "text"))
    other = MixedSpace(space.aligner, calibration.fit(rows, rows), model="toy")
    with create_index(tmp_path / "other", other) as index:
        fill(index, sides)
        scores = expected(other, sides, "calibrated", "text", 7)
        hits = index.search(text=Y[7], k=N, explain=True)  # lists of all documents
        best = sorted(scores.values(), reverse=True)[:N]
        np.testing.assert_allclose([hit.score for hit in hits], best, atol=2e-4)
        raw = index.search(text=Y[7], k=N, stage="raw", explain=True)
        for hit in [*hits, *raw]:
            assert hit.explanation.calibrated == pytest.approx(scores[hit.id], abs=2e-4)


@pytest.mark.parametrize("stage", ["raw", "aligned", "calibrated"])
def test_a_query_of_both_and_a_document_of_both_score_means(
    index: MixedIndex, sides: Any, stage: Any
) -> None:
    X, Y = sides
    index.add_documents(["d"], X[:1], Y[5:6])
    ask = {"k": 1000, "stage": stage, "check_side": False}

    def scores(**query: Any) -> dict[str, float]:
        return {hit.id: hit.score for hit in index.search(**query, **ask)}

    by_image, by_text = scores(image=X[3]), scores(text=Y[9])
    both = scores(image=X[3], text=Y[9])
    for name, score in both.items():
        assert score == pytest.approx((by_image[name] + by_text[name]) / 2, abs=2e-4)
    assert by_text["d"] == pytest.approx((by_text["i0"] + by_text["t5"]) / 2, abs=2e-4)


def test_filter_and_k(index: MixedIndex, sides: Any) -> None:
    everything = index.search(text=sides[1][0], k=10**6)
    assert len(everything) == len(index) == 2 * N
    images = index.search(text=sides[1][0], k=10**6, modalities="image")
    assert [hit.id for hit in images] == [h.id for h in everything if h.modality == "image"]
    assert index.search(text=sides[1][0], modalities=["image+text"]) == []


def test_payloads_and_ids_come_back_as_they_were(
    index: MixedIndex, sides: Any, tmp_path: Path
) -> None:
    payloads = [{name: [name, 1.5, None, {"a": "\0"}]} for name in NASTY]
    index.add_texts(NASTY, sides[1][: len(NASTY)] + 0.01, payloads)
    with open_index(tmp_path / "index") as again:
        for name, payload in zip(NASTY, payloads, strict=True):
            assert again.get(name).payload == payload
            assert again.get(name).id == name


def test_a_reader_sees_what_a_writer_adds(index: MixedIndex, sides: Any, tmp_path: Path) -> None:
    with open_index(tmp_path / "index") as reader:
        before = len(reader)
        for i in range(9):  # small segments are merged meanwhile
            index.add_images([f"new{i}"], sides[0][i : i + 1])
            assert len(reader) == before + i + 1
        assert reader.get("new3").modality == "image"
        assert index.delete(["new3", "nobody"]) == 1
        assert "new3" not in {hit.id for hit in reader.search(image=sides[0][3], k=1000)}


def test_a_list_is_known_by_what_it_says(index: MixedIndex, sides: Any, tmp_path: Path) -> None:
    """A list that replaces another may get its inode back, and have its size and time."""
    listed = tmp_path / "index" / "vectors" / "segments.json"
    index.add_images(["changing"], sides[0][:1], [{"now": 1}])
    with open_index(tmp_path / "index") as reader:
        assert reader.get("changing").payload == {"now": 1}
        before = listed.stat()
        os.link(listed, tmp_path / "kept")  # so that the inode is not given to another file
        index.add_images(["changing"], sides[0][:1], [{"now": 2}], replace=True)
        (tmp_path / "kept").write_bytes(listed.read_bytes())
        os.utime(tmp_path / "kept", ns=(before.st_atime_ns, before.st_mtime_ns))
        (tmp_path / "kept").replace(listed)
        after = listed.stat()
        assert (after.st_ino, after.st_mtime_ns, after.st_size) == (
            before.st_ino,
            before.st_mtime_ns,
            before.st_size,
        )
        assert reader.get("changing").payload == {"now": 2}


def test_replacing(index: MixedIndex, sides: Any) -> None:
    with pytest.raises(InputError, match=r"ids must be new, got 'i3'"):
        index.add_images(["fresh", "i3"], sides[0][:2])
    with pytest.raises(InputError, match="'fresh'"):
        index.get("fresh")
    index.add_texts(["i3"], sides[1][:1], [{"now": "a text"}], replace=True)
    assert index.count() == {"image": N - 1, "text": N + 1}
    assert index.get("i3").payload == {"now": "a text"}


def test_a_crash_leaves_the_index_as_it_was(
    index: MixedIndex, sides: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise KeyboardInterrupt

    before = [hit.id for hit in index.search(image=sides[0][0], k=1000)]
    with monkeypatch.context() as patch:
        patch.setattr("fillgap.search.exact.ExactBackend._write_list", fail)
        with pytest.raises(KeyboardInterrupt):
            index.add_images(["late"], sides[0][:1])
    with open_index(tmp_path / "index") as again:
        assert [hit.id for hit in again.search(image=sides[0][0], k=1000)] == before
        again.add_images(["later"], sides[0][:1])
        names = {entry["name"] for entry in again._backend._list["segments"]}
    files = {path.name.partition(".")[0] for path in (tmp_path / "index/vectors").glob("*.npy")}
    assert files == names


def test_a_build_that_fails_leaves_nothing(space: MixedSpace, sides: Any, tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), new_index(tmp_path / "index", space) as made:
        made.add_images(["a"], sides[0][:1])
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []


def test_an_encoder_that_cannot_be_is_refused_before_anything_is_built(
    space: MixedSpace, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="the encoder must be one of 'digit-scenes', 'clip'"):
        create_index(tmp_path / "index", space, encoder="nonsense:model")
    assert list(tmp_path.iterdir()) == []
    create_index(tmp_path / "index", space, encoder="clip:weights-that-are-elsewhere").close()


def test_the_model_is_kept_where_the_space_does_not_say_it(
    space: MixedSpace, sides: Any, tmp_path: Path
) -> None:
    with create_index(tmp_path / "index", MixedSpace(n_features=D), model="toy") as made:
        assert made.manifest.model == "toy"
        with pytest.raises(InputError, match="of the model of the index, 'toy', got 'other'"):
            made.add_images(["a"], sides[0][:1], model="other")
    with pytest.raises(InputError, match="the model of the embeddings, 'other', got 'toy'"):
        create_index(tmp_path / "another", space, model="other")
    assert [path.name for path in tmp_path.iterdir()] == ["index"]
    for name, rows in zip(("images", "texts"), sides, strict=True):
        np.save(tmp_path / f"{name}.npy", rows)
    save_space(MixedSpace(n_features=D), tmp_path / "plain.safetensors")
    words = ["index", *(str(tmp_path / f"{name}.npy") for name in ("images", "texts")), "-q"]
    words += ["-o", str(tmp_path / "third"), "--space", str(tmp_path / "plain.safetensors")]
    assert run([*words, "--model", "toy"]) == 0
    with open_index(tmp_path / "third") as opened:
        assert opened.manifest.model == "toy"


def test_the_command_refuses_such_an_encoder_too(
    sides: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [str(tmp_path / name) for name in ("images.npy", "texts.npy")]
    for file, rows in zip(files, sides, strict=True):
        np.save(file, rows)
    words = ["index", *files, "-o", str(tmp_path / "index"), "--encoder", "nonsense:model", "-q"]
    assert run(words) == 2
    told = capsys.readouterr().err
    assert "the encoder must be one of 'digit-scenes', 'clip'" in told
    assert told.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["images.npy", "texts.npy"]


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


def test_an_empty_index_finds_nothing(space: MixedSpace, sides: Any, tmp_path: Path) -> None:
    with create_index(tmp_path / "index", space) as made:
        assert made.search(text=sides[1][0]) == []
        assert made.count() == {}
        assert len(made) == 0


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
def test_bad_queries(index: MixedIndex, query: dict[str, Any], message: str) -> None:
    with pytest.raises((InputError, InputTypeError), match=message):
        index.search(check_side=False, **query)


def test_a_query_of_the_other_modality_is_refused(index: MixedIndex, sides: Any) -> None:
    words = "^image queries must be .* lie where text embeddings of this model lie. Ask with text"
    with pytest.raises(InputError, match=words):
        index.search(image=sides[1].mean(axis=0))


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
def test_bad_documents(index: MixedIndex, sides: Any, change: dict[str, Any], message: str) -> None:
    good = {"ids": ["a", "b"], "images": sides[0][:2]}
    with pytest.raises((InputError, InputTypeError), match=message):
        index.add_images(**{**good, **change})
    assert len(index) == 2 * N


def test_another_space_is_refused(index: MixedIndex, sides: Any, tmp_path: Path) -> None:
    other = fit_space(sides[0][:60], sides[1][:60], model="toy")
    with pytest.raises(InputError, match="got another one given"):
        open_index(tmp_path / "index", space=other)
    plain = MixedSpace(n_features=D)
    with create_index(tmp_path / "plain", plain) as made:
        assert made.stages == ("raw",)
        with pytest.raises(InputError, match="no aligner"):
            made.search(image=sides[0][0], stage="aligned")


def test_damage_is_one_sentence(index: MixedIndex, tmp_path: Path) -> None:
    index.close()
    folder = tmp_path / "index"
    vectors = folder / "vectors"
    for path in [
        *vectors.glob("*.npy"), *vectors.glob("*.arrow"),
        vectors / "segments.json", folder / "manifest.json", folder / "space.safetensors",
    ]:  # fmt: skip
        whole = path.read_bytes()
        for broken in (whole[: len(whole) // 2], b""):
            path.write_bytes(broken)
            with pytest.raises(InputError, match="must be"):
                open_index(folder)
        path.write_bytes(whole)
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(manifest | {"format_version": 99}))
    with pytest.raises(InputError, match="Upgrade fillgap"):
        open_index(folder)
    wrong = {"options": [1], "notes": "none", "encoder": 5, "name": None, "fields": "raw"}
    for name, value in wrong.items():
        (folder / "manifest.json").write_text(json.dumps(manifest | {name: value}))
        with pytest.raises(InputError, match=rf"must be a whole .* \({name} is no "):
            open_index(folder)


def test_the_space_of_an_index_is_that_of_its_folder(index: MixedIndex, tmp_path: Path) -> None:
    assert load_space(tmp_path / "index").fingerprint == index.space.fingerprint
    with pytest.raises(InputError, match="must be a file, got a folder"):
        load_space(tmp_path)


def test_only_an_index_is_replaced(space: MixedSpace, tmp_path: Path) -> None:
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "letter.txt").write_text("dear")
    for overwrite, message in ((False, "must be a new name"), (True, "must be an index")):
        with pytest.raises(InputError, match=message):
            create_index(tmp_path / "precious", space, overwrite=overwrite)
    assert (tmp_path / "precious" / "letter.txt").read_text() == "dear"


@pytest.mark.parametrize("seed", range(12))
def test_nearest_is_a_full_sort(seed: int) -> None:
    rng = np.random.default_rng(seed)
    k = int(rng.choice([1, 10, 700, 9000]))
    queries = rng.normal(size=(3, 5)).astype(np.float32)
    parts, rows, dead = [], [np.zeros((0, 5), np.float32)], []
    for size in rng.integers(0, 5000, size=3):
        block = np.round(rng.normal(size=(size, 5)), 1).astype(np.float32)  # many are level
        gone = np.sort(rng.choice(size, size // 3, replace=False)).astype(np.int64)
        dead.append(gone + sum(map(len, rows)))
        parts.append(([block], gone))
        rows.append(block)
    scores = queries @ np.concatenate(rows).T
    scores[:, np.concatenate(dead)] = -np.inf
    alive = int(np.isfinite(scores[0]).sum())
    items, values = nearest([queries], parts, k)
    assert items.shape == (3, min(k, alive))
    reference = -np.sort(-scores, axis=1)[:, : min(k, alive)]
    np.testing.assert_allclose(values, reference, atol=1e-5)
    np.testing.assert_allclose(np.take_along_axis(scores, items, 1), reference, atol=1e-5)
    assert all(len(set(row)) == len(row) for row in items.tolist())


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

"""Mixed search on a user's folder of queries, documents and judgements."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fillgap import InputError
from fillgap.bench.folders import read_embeddings
from fillgap.bench.judged import _parts, bench_judged
from fillgap.bench.mixed import in_thirds
from fillgap.calibration import ZScore
from fillgap.cli.app import run
from fillgap.datasets import load_digit_scenes
from fillgap.datasets.judged import open_judged
from fillgap.evaluation.leaderboard import Combination
from judged_folders import N, write_beir, write_embeddings, write_mixbench
from reference import unit

QUICK = {"aligners": ["gr-clip"], "calibrations": {"z-score": ZScore()}, "n_resamples": 100}


@pytest.fixture(scope="module")
def mixbench(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_mixbench(tmp_path_factory.mktemp("judged") / "MSCOCO", pictures=True)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_embeddings(write_mixbench(tmp_path / "set") / "embeddings")
    return tmp_path / "set"


def test_graded_ndcg_is_that_of_ir_measures(tmp_path: Path) -> None:
    ir = pytest.importorskip("ir_measures")
    grades, folder = write_beir(tmp_path / "beir")
    judged = open_judged(folder)
    queries, documents = read_embeddings(judged, folder / "embeddings")
    board = bench_judged(judged, queries, documents, **QUICK)
    asked = unit(queries.rows["text"])
    ranked = [
        ir.ScoredDoc(q, f"{side[0]}{j}", float(score))
        for q in grades
        for side, rows in documents.rows.items()
        for j, score in enumerate(unit(rows) @ asked[int(q)])
    ]
    qrels = [ir.Qrel(q, doc, grade) for q, docs in grades.items() for doc, grade in docs.items()]
    wanted = {m.query_id: m.value for m in ir.iter_calc([ir.nDCG @ 10], qrels, ranked)}
    found = board.values[Combination()]["mixed_ndcg_at_10"]
    assert np.isnan(found[len(grades) :]).all()
    np.testing.assert_allclose(found[: len(grades)], [wanted[q] for q in grades], atol=1e-6)
    assert board.line(Combination()).estimates["mixed_ndcg_at_10"].value == pytest.approx(
        np.mean(list(wanted.values())), abs=1e-6
    )
    with pytest.raises(InputError, match="judged queries must be at least 40, for 20 parts"):
        bench_judged(judged, queries, documents, n_splits=20)
    documents.rows.pop("image")
    with pytest.raises(InputError, match="texts alone. There is no gap"):
        bench_judged(judged, queries, documents, **QUICK)


def test_ids_decide_which_row_is_whose(folder: Path) -> None:
    judged, scenes = open_judged(folder), load_digit_scenes()
    _, documents = read_embeddings(judged, folder / "embeddings")
    rows = 2 * documents.of["text"] + 1
    np.testing.assert_array_equal(documents.rows["text"], scenes.texts[rows])
    images, before = folder / "embeddings" / "corpus_images.npy", np.array(documents.rows["image"])
    np.save(images, before[::-1])
    ids = [judged.documents[i].id for i in documents.of["image"][::-1]]
    (images.parent / "corpus_images.ids.txt").write_text("\n".join(ids) + "\n")
    again = read_embeddings(judged, folder / "embeddings")[1]
    np.testing.assert_array_equal(again.rows["image"], before)


def test_an_encoder_gives_what_embeddings_give(
    mixbench: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The scenes and captions of both are the same; the gap shows, and centring narrows it."""
    values = []
    for words in ([str(mixbench), "--encoder", "digit-scenes"], [str(folder)]):
        assert run(["bench", "mixed", *words, "-m", "gr-clip", "--json", "-q"]) == 0
        board = json.loads(capsys.readouterr().out)
        lines = {line["what"]["aligner"] + "+" + line["what"]["calibration"]: line
                 for line in board["lines"]}  # fmt: skip
        values.append(
            [lines[name]["estimates"]["mixed_ndcg_at_10"]["value"] for name in sorted(lines)]
        )
        raw, centred = lines["raw+none"], lines["gr-clip+none"]
        assert {"mixed_ndcg_at_10.image", "mixed_ndcg_at_10.image+text"} <= set(raw["estimates"])
        assert raw["exposure"]["image"]["value"] < centred["exposure"]["image"]["value"]
        before, after = (line["estimates"]["mixed_ndcg_at_10"]["value"] for line in (raw, centred))
        assert before < after
    np.testing.assert_allclose(*values, atol=0.02)  # thumbnails are rounded to 8 bits


def test_what_a_query_is_judged_by_is_never_fitted_to(folder: Path) -> None:
    judged = open_judged(folder)
    queries, documents = read_embeddings(judged, folder / "embeddings")
    seen: list[Any] = []

    class Watched(ZScore):
        def fit(self, queries, documents, *, relevant, **rest):  # type: ignore[no-untyped-def]
            seen.append((queries, documents, relevant))
            return super().fit(queries, documents, **rest)

    board = bench_judged(judged, queries, documents, aligners=["gr-clip"],
                         calibrations={"watched": Watched(on="all")}, n_resamples=100)  # fmt: skip
    raw, asked = seen[::2], queries.rows["text"]  # each part fits raw first, then the aligner
    assert len(raw) == 4
    rows = [np.concatenate([part.texts, *shown]) for part, shown, _ in raw]
    for i in range(N):  # one of the four fits saw neither the query nor the documents of scene i
        mine = [asked[i], *(documents.rows[s][of == i] for s, of in documents.of.items())]
        mine = np.vstack(mine)
        without = [all(np.abs(part - row).max(axis=1).min() > 1e-6 for row in mine)
                   for part in rows]  # fmt: skip
        assert sum(without) == 1
    told = []
    for part, shown, relevant in raw:  # just what is relevant to its queries among its documents
        for (_, side), pairs in relevant.items():
            query = np.argmax(part.texts[pairs[:, 0]] @ asked.T, axis=1)
            row = np.argmax(shown.of(side)[pairs[:, 1]] @ documents.rows[side].T, axis=1)
            np.testing.assert_array_equal(query, documents.of[side][row])
            assert len(query) > len(documents.of[side]) // 2
            told += query.tolist()
    assert set(told) == set(range(N))
    # The score of a document that is an image and a text is the mean of both.
    total, halves = np.zeros((N, N)), np.zeros(N)
    for side, of in documents.of.items():
        total[:, of] += unit(asked) @ unit(documents.rows[side]).T
        halves[of] += 1
    scores = total / halves
    rank = 1 + (scores > np.diag(scores)[:, None] + 1e-6).sum(axis=1)
    expected = np.where(rank <= 10, 1 / np.log2(1 + rank), 0)
    np.testing.assert_allclose(board.values[Combination()]["mixed_ndcg_at_10"], expected, atol=1e-6)


class TestThirds:
    def test_every_item_is_in_the_pool_once_and_asked_by_what_is_not(self) -> None:
        pair = load_digit_scenes().take_images(np.arange(90))
        judged, queries, documents = in_thirds(pair)
        kinds, count = np.unique(documents.kinds, return_counts=True)
        assert dict(zip(kinds.tolist(), count.tolist(), strict=True)) == {
            "image": 30, "text": 30, "image+text": 30,
        }  # fmt: skip
        assert (queries.kinds == "image").sum() == 30
        assert [item.kind for item in judged.documents] == documents.kinds.tolist()
        rows = {"image": pair.images, "text": pair.texts}
        index = {"image": np.arange(90), "text": np.asarray(pair.image_index)}
        item_of = {}  # of a query or a document, by the row of its embedding
        for who, items in (("query", queries), ("document", documents)):
            for side, of in items.of.items():
                found = np.argmax(items.rows[side] @ rows[side].T, axis=1)
                np.testing.assert_array_equal(items.rows[side], rows[side][found])
                for number, row in zip(of, found, strict=True):
                    item_of.setdefault((who, number), []).append((side, row, index[side][row]))
        part, parts_of = _parts(judged, 4, 0), {}
        assert set(part.tolist()) == {0, 1, 2, 3}
        for query, document, grade in judged.relevant:
            # Queries of one thing stay together.
            assert parts_of.setdefault(document, part[query]) == part[query]
            asked, answers = item_of["query", query], item_of["document", document]
            assert grade == 1
            assert len({item for *_, item in asked + answers}) == 1
            assert not {(side, row) for side, row, _ in asked} & {(s, r) for s, r, _ in answers}

    def test_the_command(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        pair = load_digit_scenes().take_images(np.arange(60))
        for name, rows in (("i", pair.images), ("t", pair.texts), ("x", pair.image_index)):
            np.save(tmp_path / f"{name}.npy", np.asarray(rows))
        files = [str(tmp_path / f"{name}.npy") for name in "it"]
        words = ["bench", "mixed", *files, "--thirds", "-m", "balanced", "-q"]
        assert run([*words, "--image-index", str(tmp_path / "x.npy")]) == 0
        told = capsys.readouterr().out
        assert "80 judged queries, 60 documents (20 image, 20 image+text, 20 text)" in told
        assert "| mixed NDCG@10 | of images | of both in one | of texts | p | exposure |" in told
        assert "balanced + rrf" in told
        assert run(words) == 2
        assert "images with two texts must be at least 12" in capsys.readouterr().err


def add(file: str, text: str) -> Any:
    """Return what adds to the end of a file."""
    return lambda folder: (folder / file).write_text((folder / file).read_text() + text)


def write(file: str, text: str) -> Any:
    return lambda folder: (folder / file).write_text(text)


def remove(*files: str) -> Any:
    return lambda folder: [(folder / file).unlink() for file in files]


def change(rows: Any) -> Any:
    """Return what puts other vectors in the place of those of the query texts."""

    def put(folder: Path) -> None:
        path = folder / "embeddings" / "query_texts.npy"
        np.save(path, rows(np.load(path)))

    return put


QRELS, CORPUS, TEXTS = "qrels/qrels.tsv", "mixed_corpus.jsonl", "embeddings/query_texts.npy"
HEAD = "query_id\tcorpus_id\tscore\n"
#: What is broken in a folder, further words of the command, and what it says.
SPOILT: list[tuple[Any, list[str], str]] = [
    (add(QRELS, "q1\tnobody\t1\n"), [], "line 50 must judge a document of this folder"),
    (add(QRELS, "nobody\td1\t1\n"), [], "line 50 must judge a query of this folder, got 'nobody'"),
    (remove(QRELS), [], "must hold the judgements test.tsv, got none"),
    (None, ["--qrels", "train"], "must hold the judgements train.tsv, got qrels"),
    (write(QRELS, HEAD + "q1\td1\t0\n"), [], "must judge at least one document relevant"),
    (write(QRELS, HEAD + "q1\td1\tyes\n"), [], "must have a number as its score, got 'yes'"),
    (add(CORPUS, '{"id": "d'), [], "mixed_corpus.jsonl, line 49 must be a whole row"),
    (remove(CORPUS, "corpus.jsonl"), [], "must hold mixed_corpus.jsonl or .parquet, got neither"),
    (lambda folder: add("queries.jsonl", (folder / "queries.jsonl").read_text())(folder), [],
     "must be an item of its own with a text or an image, got 'q0' twice"),
    (remove("embeddings/corpus_images.npy"), [], "must hold corpus_images.npy, .parquet or the"),
    (None, ["--embeddings", "none"], "none"),
    (change(lambda rows: rows[:-1]), [], "one row for each of the 48 texts of the folder, in its"),
    (change(lambda rows: rows[:, :-1]), [], "must be of one dimension, got 127 and 128"),
    (write("embeddings/query_texts.ids.txt", "\n".join(f"x{i}" for i in range(N))), [],
     "got none for 'q0' and 47 others"),
    (None, ["--encoder", "digit-scenes"], "the image of 'd0' must be a file of"),
    (None, ["--thirds"], "--thirds must be given with pairs"),
    (None, [TEXTS], "TEXTS must be given with pairs"),
    (None, ["--image-index", TEXTS, "--thirds"], "--image-index and --thirds must be given"),
    (change(lambda rows: np.full(rows.shape, np.nan)), [], "must be finite numbers in every row"),
    (None, ["--encoder", "digit-scenes", "--embeddings", "none"], "must be of --embeddings or of"),
]  # fmt: skip


@pytest.mark.parametrize(("spoil", "words", "message"), SPOILT, ids=[m for *_, m in SPOILT])
def test_bad_folders_are_one_sentence(
    spoil: Any, words: list[str], message: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if spoil is not None:
        spoil(folder)
    words = [str(folder / word) if word == TEXTS else word for word in words]
    assert run(["bench", "mixed", str(folder), *words, "-o", str(folder / "out.md")]) == 2
    told = capsys.readouterr().err
    assert message in " ".join(told.split())
    assert told.count("\n") == 1
    assert not (folder / "out.md").exists()


def test_a_folder_is_named_or_needed(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder.parent / "qrels").mkdir()
    assert run(["bench", "mixed", str(folder.parent)]) == 2
    assert "Pass one of its folders: set." in capsys.readouterr().err
    assert run(["bench", "mixed", "--encoder", "digit-scenes"]) == 2
    assert "must be given with a folder of queries" in capsys.readouterr().err

"""A judged folder through a real encoder into embeddings that bench mixed reads."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

pytest.importorskip("transformers")

from datasets_in_memory import scenes
from fillgap.bench.folders import read_embeddings
from fillgap.cli.app import run
from fillgap.datasets.judged import open_judged
from fillgap.embed import embed_dataset
from fillgap.encoders import DigitSceneEncoder
from judged_folders import write_beir, write_mixbench
from tiny_models import save_clip

Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"clip:{save_clip(tmp_path_factory.mktemp('clip'))}"


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_mixbench(tmp_path_factory.mktemp("judged") / "MSCOCO", pictures=True)


@pytest.fixture
def embedded(source: Path, tmp_path: Path) -> Path:
    out = tmp_path / "out"
    assert run(["embed", f"judged:{source}", "digit-scenes", "-o", str(out), "-q"]) == 0
    return out


def board(words: list[str], capsys: Capture) -> dict[str, Any]:
    capsys.readouterr()
    assert run(["bench", "mixed", *words, "-m", "gr-clip", "--json", "-q"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    found.pop("data")
    return found


def values(found: dict[str, Any]) -> list[float]:
    return [
        line["estimates"]["mixed_ndcg_at_10"]["value"]
        for line in sorted(found["lines"], key=lambda line: str(line["what"]))
    ]


def test_what_clip_embedded_is_benched_as_what_it_embeds(
    source: Path, clip: str, tmp_path: Path, capsys: Capture
) -> None:
    out = tmp_path / "out"
    assert run(["embed", f"judged:{source}", clip, "-o", str(out), "--shard-rows", "20"]) == 0
    told = capsys.readouterr().out
    assert "32 images and 80 texts in 12 dimensions" in told
    assert f"Next: fillgap bench mixed {source} --embeddings {out}" in " ".join(told.split())
    assert len(list((out / "img_emb").iterdir())) == 2
    direct = board([str(source), "--encoder", clip], capsys)
    copied = tmp_path / "copied"
    shutil.copytree(source, copied)
    shutil.copytree(out, copied / "embeddings")
    for words in ([str(source), "--embeddings", str(out)], [str(copied)]):
        found = board(words, capsys)
        np.testing.assert_allclose(values(found), values(direct), atol=1e-6)
        assert found["about"] == direct["about"]


def test_one_folder_serves_all_judgements(clip: str, tmp_path: Path, capsys: Capture) -> None:
    _, folder = write_beir(tmp_path / "beir")
    rows = [json.loads(line) for line in (folder / "corpus.jsonl").read_text().splitlines()]
    kept = [row for row in rows if "image" not in row]
    (folder / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in kept))
    lines = (folder / "qrels" / "test.tsv").read_text().splitlines(keepends=True)
    texts = [line for line in lines if "\ti" not in line]
    (folder / "qrels" / "test.tsv").write_text("".join(texts))
    out = tmp_path / "out"
    assert run(["embed", f"judged:{folder}", clip, "-o", str(out), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["n_images"], told["n_texts"]) == (0, 100)
    for split in ("dev", "test"):
        queries, documents = read_embeddings(open_judged(folder, split=split), out)
        assert (len(queries.rows["text"]), len(documents.rows["text"])) == (40, 60)
        assert queries.rows.keys() == documents.rows.keys() == {"text"}


def test_pictures_within_a_table_give_what_files_give(
    source: Path, embedded: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "set"
    (folder / "qrels").mkdir(parents=True)
    for name in ("queries.jsonl", "qrels/qrels.tsv"):
        (folder / name).write_bytes((source / name).read_bytes())
    rows = [json.loads(line) for line in (source / "mixed_corpus.jsonl").read_text().splitlines()]
    for row in rows:
        if row["image"] is not None:
            picture = (source / "images" / Path(row["image"]).name).read_bytes()
            row["image"] = {"bytes": picture, "path": None}
    pq.write_table(pa.Table.from_pylist(rows), folder / "corpus.parquet")
    out = tmp_path / "of-table"
    assert run(["embed", f"judged:{folder}", "digit-scenes", "-o", str(out), "-q"]) == 0
    judged = open_judged(folder)
    assert [one.kind for one in judged.documents[:3]] == ["image", "text", "image+text"]
    read = read_embeddings(judged, out)[1]
    made = read_embeddings(open_judged(source), embedded)[1]
    assert made.rows.keys() == {"image", "text"}
    for side, array in made.rows.items():
        np.testing.assert_allclose(read.rows[side], array, atol=1e-6)


def test_it_goes_on_where_it_was_stopped(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    words = ["embed", f"judged:{source}", "digit-scenes", "-o", str(tmp_path / "out")]
    words += ["--shard-rows", "16", "-q"]
    encode, seen = DigitSceneEncoder.encode_texts, []

    limit = [32]

    def counted(self: DigitSceneEncoder, texts: Any) -> Any:
        if len(seen) >= limit[0]:
            raise KeyboardInterrupt
        seen.extend(texts)
        return encode(self, texts)

    monkeypatch.setattr(DigitSceneEncoder, "encode_texts", counted)
    assert run(words) == 130
    assert run(["bench", "mixed", str(source), "--embeddings", str(tmp_path / "out")]) == 2
    assert "must be finished, got 32 of 112 records" in " ".join(capsys.readouterr().err.split())
    before = set((tmp_path / "out" / "text_emb").iterdir())
    assert len(before) == 2
    assert not list(tmp_path.rglob(".fillgap*"))
    limit[0] = 1000
    assert run(words) == 0
    judged = open_judged(source)
    wanted = [one.text for items in (judged.queries, judged.documents) for one in items if one.text]
    assert [text for text in seen if text in set(wanted)] == wanted  # each once
    seen.clear()
    assert run(words) == 0
    assert not set(seen) & set(wanted)


class TestRefusals:
    def refused(self, words: list[str], capsys: Capture) -> str:
        capsys.readouterr()
        assert run(words) == 2
        told = capsys.readouterr().err
        assert told.count("\n") == 1
        return " ".join(told.split())

    def test_vectors_of_another_version(
        self, source: Path, embedded: Path, tmp_path: Path, capsys: Capture
    ) -> None:
        other = write_mixbench(tmp_path / "other")
        table = other / "queries.jsonl"
        table.write_text(table.read_text().replace('"text": "', '"text": "indeed ', 1))
        told = self.refused(["bench", "mixed", str(other), "--embeddings", str(embedded)], capsys)
        assert "got those of MSCOCO, or of another version. Embed this one:" in told

    def test_images_with_captions_are_no_judged_embeddings(
        self, source: Path, tmp_path: Path, capsys: Capture
    ) -> None:
        plain = tmp_path / "plain"
        embed_dataset(scenes(12), DigitSceneEncoder(), plain)
        told = self.refused(["bench", "mixed", str(source), "--embeddings", str(plain)], capsys)
        assert f"must hold vectors of the queries and documents of {source}" in told
        assert f"fillgap embed judged:{source} MODEL -o OUT" in told

    @pytest.mark.parametrize(
        ("words", "said"),
        [
            (["--set", "split=test"], "an option of judged must be left out, got 'split'"),
            (
                ["--set", "part=pairs", "--set", "n_pairs=50", "--set", "n_transport=9"],
                "must have a caption for each image, got none for corpus_images/",
            ),
            (["--device", "tpu", "--workers", "2"], "device must be one that PyTorch can use here"),
            (["--dtype", "float16"], "must hold embeddings of one type, got some of float32"),
        ],
    )
    def test_options(
        self, words: list[str], said: str, source: Path, embedded: Path, capsys: Capture
    ) -> None:
        before = {path: path.stat().st_mtime_ns for path in embedded.rglob("*")}
        given = ["embed", f"judged:{source}", "digit-scenes", "-o", str(embedded), *words]
        assert said in self.refused(given, capsys)
        assert {path: path.stat().st_mtime_ns for path in embedded.rglob("*")} == before

    def test_places(self, source: Path, tmp_path: Path, capsys: Capture) -> None:
        def told(folder: object, out: object) -> str:
            words = ["embed", f"judged:{folder}", "digit-scenes", "-o", str(out)]
            return self.refused(words, capsys)

        assert "must be written judged:PATH" in told("", tmp_path / "a")
        assert "nothing there" in told(tmp_path / "none", tmp_path / "a")
        assert "must hold mixed_corpus.jsonl or .parquet" in told(source / "qrels", tmp_path / "a")
        assert "must be a new folder, an empty one" in told(source, source)
        assert "must be in a folder that exists" in told(source, tmp_path / "no" / "a")
        assert not (tmp_path / "a").exists()

    def test_a_missing_picture(self, tmp_path: Path, capsys: Capture) -> None:
        folder = write_mixbench(tmp_path / "set")
        words = ["embed", f"judged:{folder}", "digit-scenes", "-o", str(tmp_path / "out")]
        assert "the image of 'd0' must be a file of" in self.refused(words, capsys)
        assert not (tmp_path / "out").exists()

    def test_a_picture_that_cannot_be_read(self, tmp_path: Path, capsys: Capture) -> None:
        folder, out = write_mixbench(tmp_path / "set", pictures=True), tmp_path / "out"
        (folder / "images" / "0.png").write_bytes(b"no picture")
        assert run(["embed", f"judged:{folder}", "digit-scenes", "-o", str(out), "-q"]) == 0
        for words in (["--embeddings", str(out)], ["--encoder", "digit-scenes", "-q"]):
            told = self.refused(["bench", "mixed", str(folder), *words], capsys)
            assert "must have images that can all be read, got corpus_images/d0: " in told

    def test_it_is_no_pair(self, embedded: Path, capsys: Capture) -> None:
        told = self.refused(["measure", str(embedded)], capsys)
        assert "must hold images with their captions, got texts of no image among them" in told

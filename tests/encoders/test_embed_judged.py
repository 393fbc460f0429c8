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


def test_what_clip_embedded_is_benched_as_what_it_embeds(source, clip, tmp_path, capsys) -> None:
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


def test_pictures_within_a_table_give_what_files_give(source, embedded, tmp_path) -> None:
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


def refused(words: list[str], capsys: Capture) -> str:
    capsys.readouterr()
    assert run(words) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    return " ".join(told.split())


def test_bench_refuses_vectors_of_something_else(source, embedded, tmp_path, capsys) -> None:
    other = write_mixbench(tmp_path / "other")
    table = other / "queries.jsonl"
    table.write_text(table.read_text().replace('"text": "', '"text": "indeed ', 1))
    told = refused(["bench", "mixed", str(other), "--embeddings", str(embedded)], capsys)
    assert "got those of MSCOCO, or of another version. Embed this one:" in told
    plain = tmp_path / "plain"
    embed_dataset(scenes(12), DigitSceneEncoder(), plain)
    told = refused(["bench", "mixed", str(source), "--embeddings", str(plain)], capsys)
    assert f"must hold vectors of the queries and documents of {source}" in told
    assert f"fillgap embed judged:{source} MODEL -o OUT" in told
    manifest = embedded / "manifest.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"shards": []}))
    told = refused(["bench", "mixed", str(source), "--embeddings", str(embedded)], capsys)
    assert "must be finished, got 0 of 112 records" in told


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
def test_embed_refuses_options_and_leaves_what_is_there(
    words: list[str], said: str, source: Path, embedded: Path, capsys: Capture
) -> None:
    before = {path: path.stat().st_mtime_ns for path in embedded.rglob("*")}
    given = ["embed", f"judged:{source}", "digit-scenes", "-o", str(embedded), *words]
    assert said in refused(given, capsys)
    assert {path: path.stat().st_mtime_ns for path in embedded.rglob("*")} == before
    told = refused(["measure", str(embedded)], capsys)
    assert "must hold images with their captions, got texts of no image among them" in told


def test_pictures_that_are_missing_or_cannot_be_read(tmp_path: Path, capsys: Capture) -> None:
    folder, out = write_mixbench(tmp_path / "set"), tmp_path / "out"
    words = ["embed", f"judged:{folder}", "digit-scenes", "-o", str(out), "-q"]
    assert "the image of 'd0' must be a file of" in refused(words, capsys)
    assert not out.exists()
    folder = write_mixbench(tmp_path / "other", pictures=True)
    (folder / "images" / "0.png").write_bytes(b"no picture")
    assert run(["embed", f"judged:{folder}", *words[2:]]) == 0
    for options in (["--embeddings", str(out)], ["--encoder", "digit-scenes", "-q"]):
        told = refused(["bench", "mixed", str(folder), *options], capsys)
        assert "must have images that can all be read, got corpus_images/d0: " in told

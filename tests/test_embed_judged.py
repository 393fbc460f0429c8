"""A judged folder through a real encoder into a folder that bench mixed reads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

pytest.importorskip("transformers")

from datasets_in_memory import scenes
from fillgap.cli.app import run
from fillgap.datasets import open_judged
from fillgap.encoders import DigitSceneEncoder
from fillgap.experiments.embed import embed_dataset
from fillgap.experiments.judged_embeddings import encode_judged, read_embeddings
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
    assert "48 query texts, 32 corpus images, 32 corpus texts in 12 dimensions" in told
    assert f"Next: fillgap bench mixed {out}" in told
    assert len(list((out / "embeddings" / "corpus_images").iterdir())) == 2
    direct = board([str(source), "--encoder", clip], capsys)
    for words in (
        [str(out)],
        [str(source), "--embeddings", str(out)],
        [str(source), "--embeddings", str(out / "embeddings")],
    ):
        found = board(words, capsys)
        np.testing.assert_allclose(values(found), values(direct), atol=1e-6)
        assert found["about"] == direct["about"]


def test_all_judgements_come_along(clip: str, tmp_path: Path, capsys: Capture) -> None:
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
    assert told["splits"] == ["dev", "test"]
    assert told["rows"] == {"query_texts": 40, "corpus_texts": 60}
    for split in told["splits"]:
        judged, before = open_judged(out, split=split), open_judged(folder, split=split)
        assert judged.relevant == before.relevant
        assert [one.text for one in judged.documents] == [one.text for one in before.documents]


def test_pictures_within_a_table_need_not_be_copied(source: Path, tmp_path: Path) -> None:
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
    out = tmp_path / "out"
    assert run(["embed", f"judged:{folder}", "digit-scenes", "-o", str(out), "-q"]) == 0
    assert sum(path.stat().st_size for path in out.glob("*.jsonl")) < 20_000
    judged = open_judged(out)
    assert [one.kind for one in judged.documents[:3]] == ["image", "text", "image+text"]
    read = read_embeddings(judged, out)[1]
    made = encode_judged(open_judged(source), DigitSceneEncoder())[1]
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
    for place in ([str(source), "--embeddings", str(tmp_path / "out")], [str(tmp_path / "out")]):
        assert run(["bench", "mixed", *place]) == 2
        assert "must be finished, got vectors of a part" in capsys.readouterr().err
    before = set((tmp_path / "out" / "embeddings" / "query_texts").iterdir())
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


def files_of(folder: Path) -> dict[str, Any]:
    return {str(path.relative_to(folder)): np.load(path) for path in folder.rglob("*.npy")}


def test_workers_write_what_one_process_writes(
    source: Path, clip: str, tmp_path: Path, capsys: Capture
) -> None:
    words = ["embed", f"judged:{source}", clip, "--shard-rows", "20", "-q"]
    alone, shared = tmp_path / "alone", tmp_path / "shared"
    assert run([*words, "-o", str(alone)]) == 0
    assert run([*words, "-o", str(shared), "--workers", "2"]) == 0
    made, expected = files_of(shared), files_of(alone)
    assert made.keys() == expected.keys()
    assert len(made) == 3 + 2 + 2
    for name, rows in expected.items():
        np.testing.assert_allclose(made[name], rows, rtol=0, atol=1e-6, err_msg=name)
    for name in ("queries.jsonl", "corpus.jsonl", "embeddings/manifest.json"):
        assert (shared / name).read_bytes() == (alone / name).read_bytes()
    removed = shared / "embeddings" / "corpus_texts" / "corpus_texts_0001.npy"
    removed.unlink()
    before = {path: path.stat().st_mtime_ns for path in shared.rglob("*.npy")}
    assert run([*words, "-o", str(shared), "--engine", "processes", "--json"]) == 0
    assert {path: path.stat().st_mtime_ns for path in before} == before  # they were kept
    np.testing.assert_allclose(np.load(removed), expected[str(removed.relative_to(shared))])


@pytest.mark.parametrize("workers", [[], ["--workers", "2"]])
def test_a_plan_is_what_then_happens(
    workers: list[str], source: Path, tmp_path: Path, capsys: Capture
) -> None:
    out = tmp_path / "out"
    words = ["embed", f"judged:{source}", "digit-scenes", "-o", str(out), "--shard-rows", "20"]
    plan = [*words, *workers, "--dry-run"]
    assert run([*plan, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert not out.exists()
    assert told["rows"] == {"query_texts": 48, "corpus_images": 32, "corpus_texts": 32}
    assert (told["n_shards"], told["kept"]) == (7, 0)
    assert told["trial_rows"] == {part: min(n, 20) for part, n in told["rows"].items()}
    assert all(seconds > 0 for seconds in told["seconds_per_row"].values())
    assert run([*plan]) == 0
    said = capsys.readouterr().out
    assert "Would read 48 query texts, 32 corpus images, 32 corpus texts of MSCOCO" in said
    assert "Nothing was written." in said
    assert run([*words, "-q"]) == 0
    assert told["n_files"] == sum(path.is_file() for path in out.rglob("*"))
    assert told["written_bytes"] == sum(rows.nbytes for rows in files_of(out).values())
    (out / "embeddings" / "query_texts" / "query_texts_0002.npy").unlink()
    capsys.readouterr()
    assert run([*plan]) == 0
    said = capsys.readouterr().out
    assert "Would read 8 query texts of MSCOCO" in said
    assert "Finished, and would be kept: 6 of 7 shards." in said


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
        assert "got those of another version (MSCOCO). Embed this one." in told

    def test_images_with_captions_are_no_judged_embeddings(
        self, source: Path, tmp_path: Path, capsys: Capture
    ) -> None:
        plain = tmp_path / "plain"
        embed_dataset(scenes(12), DigitSceneEncoder(), plain)
        told = self.refused(["bench", "mixed", str(source), "--embeddings", str(plain)], capsys)
        assert "got images with their captions" in told
        assert f"fillgap embed judged:{source} MODEL -o OUT" in told

    @pytest.mark.parametrize(
        ("words", "said"),
        [
            (["--set", "split=test"], "--set must be given with images and captions"),
            (["--device", "tpu", "--workers", "2"], "device must be one that PyTorch can use here"),
            (["--dtype", "float16"], "must hold embeddings of one dtype, got float32"),
            (["--shard-rows", "5"], "must hold embeddings of one shard_rows, got 4096"),
        ],
    )
    def test_options(
        self, words: list[str], said: str, source: Path, embedded: Path, capsys: Capture
    ) -> None:
        before = {path: path.stat().st_mtime_ns for path in embedded.rglob("*")}
        given = ["embed", f"judged:{source}", "digit-scenes", "-o", str(embedded), *words]
        assert said in self.refused(given, capsys)
        assert {path: path.stat().st_mtime_ns for path in embedded.rglob("*")} == before

    def test_another_model(self, source: Path, embedded: Path, clip: str, capsys: Capture) -> None:
        words = ["embed", f"judged:{source}", clip, "-o", str(embedded)]
        assert "must hold embeddings of one model" in self.refused(words, capsys)

    def test_places(self, source: Path, tmp_path: Path, capsys: Capture) -> None:
        def told(folder: object, out: object) -> str:
            words = ["embed", f"judged:{folder}", "digit-scenes", "-o", str(out)]
            return self.refused(words, capsys)

        assert "must be written judged:FOLDER" in told("", tmp_path / "a")
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

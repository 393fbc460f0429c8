"""Folders of judged search as MixBench and BEIR lay them out, written from the bundled scenes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from fillgap.datasets import load_digit_scenes

N = 48


def write_jsonl(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def write_mixbench(folder: Path, *, pictures: bool = False) -> Path:
    """Scene i is an image, a text or both, in turn, and asked for by its other caption."""
    scenes = load_digit_scenes()
    captions = list(scenes.captions or ())
    (folder / "qrels").mkdir(parents=True)
    (folder / "images").mkdir()
    queries, corpus = [], []
    for i in range(N):
        queries.append({"query_id": f"q{i}", "text": captions[2 * i], "image": None})
        corpus.append({"corpus_id": f"d{i}", "text": None, "image": None})
        if i % 3 != 1:
            corpus[-1]["image"] = f"s/{i}.png"
            if pictures:
                Image.fromarray(scenes.thumbnails[i]).save(folder / "images" / f"{i}.png")
        if i % 3 != 0:
            corpus[-1]["text"] = captions[2 * i + 1]
    write_jsonl(folder / "queries.jsonl", queries)
    write_jsonl(folder / "mixed_corpus.jsonl", corpus)
    write_jsonl(folder / "corpus.jsonl", [{"corpus_id": "other", "text": "x", "image": None}])
    rows = "".join(f"q{i}\td{i}\t1\n" for i in range(N))
    (folder / "qrels" / "qrels.tsv").write_text("query_id\tcorpus_id\tscore\n" + rows)
    return folder


def write_embeddings(folder: Path) -> Path:
    """Write the embeddings of `write_mixbench`; those of the texts in another order, with ids."""
    scenes, (images, texts) = load_digit_scenes(), (np.arange(N) % 3 != 1, np.arange(N) % 3 != 0)
    folder.mkdir()
    np.save(folder / "query_texts.npy", scenes.texts[: 2 * N : 2])
    np.save(folder / "corpus_images.npy", scenes.images[:N][images])
    rows = np.flatnonzero(texts)[::-1]
    table = {
        "id": [f"d{i}" for i in rows],
        "embedding": list(scenes.texts[2 * rows + 1].astype(np.float32)),
    }
    pq.write_table(pa.table(table), folder / "corpus_texts.parquet")
    return folder


def write_beir(folder: Path, *, seed: int = 0) -> tuple[dict[str, dict[str, int]], Path]:
    """Write text queries over text and image documents with graded judgements, and embeddings."""
    rng = np.random.default_rng(seed)
    (folder / "qrels").mkdir(parents=True)
    (folder / "embeddings").mkdir()
    n, d = 60, 16
    corpus: list[dict[str, Any]] = [
        {"_id": f"t{i}", "title": "T", "text": f"{i}"} for i in range(n)
    ]
    corpus += [{"_id": f"i{i}", "text": "", "image": f"{i}.png"} for i in range(n)]
    write_jsonl(folder / "corpus.jsonl", corpus)
    write_jsonl(folder / "queries.jsonl", [{"_id": f"{i}", "text": f"q{i}"} for i in range(40)])
    judged: dict[str, dict[str, int]] = {}
    for i in range(32):
        chosen = rng.choice([row["_id"] for row in corpus], 14, replace=False)
        judged[str(i)] = {one: int(rng.integers(0, 4)) for one in chosen}
        judged[str(i)][chosen[0]] = 3
    lines = [f"{q}\t{doc}\t{grade}\n" for q, docs in judged.items() for doc, grade in docs.items()]
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\n" + "".join(lines))
    (folder / "qrels" / "dev.tsv").write_text("query-id\tcorpus-id\tscore\n0\tt0\t1\n")
    arrays = {name: rng.normal(size=(n, d)) for name in ("corpus_texts", "corpus_images")}
    arrays["query_texts"] = rng.normal(size=(40, d))
    arrays["corpus_images"] += 1.0
    for name, rows in arrays.items():
        np.save(folder / "embeddings" / f"{name}.npy", rows.astype(np.float32))
    return judged, folder

"""The exact engine: the largest products, its segments, and files with wrong bytes."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest

from fillgap import InputError
from fillgap.search import MixedIndex, create_index, exact, open_index
from fillgap.search.exact import nearest
from fillgap.space import MixedSpace

N, D = 24, 6
RNG = np.random.default_rng(0)
IMAGES, TEXTS = RNG.normal(size=(2, N, D)).astype(np.float32)


def by_sorting(queries, parts, k):
    """All products, sorted; of equal ones the lower number first."""
    blocks, n_dead = [], 0
    for terms, dead in parts:
        scores = sum(q @ rows.T for q, rows in zip(queries, terms, strict=True))
        scores[:, dead] = -np.inf
        blocks.append(scores)
        n_dead += len(dead)
    scores = np.concatenate(blocks, axis=1)
    order = np.argsort(-scores, axis=1, kind="stable")[:, : min(k, scores.shape[1] - n_dead)]
    return order, np.take_along_axis(scores, order, axis=1)


def whole(rng, shape):
    """Small whole numbers: their products are exact, and many are equal."""
    return rng.integers(-3, 4, shape).astype(np.float32)


@pytest.mark.parametrize("order", ["as drawn", "ascending", "another modality behind"])
@pytest.mark.parametrize("k", [1, 10, 700, 20_000])
@pytest.mark.parametrize(("n_queries", "n_terms"), [(1, 1), (5, 2), (9, 1)])
def test_it_is_what_sorting_gives(order, k, n_queries, n_terms, monkeypatch) -> None:
    monkeypatch.setattr(exact, "_BLOCK_SCORES", 2**12)  # blocks of 2048 rows
    monkeypatch.setattr(exact, "_MOST_QUERIES", 8)
    rng = np.random.default_rng(0)
    queries = [whole(rng, (n_queries, 4)) for _ in range(n_terms)]
    parts = []
    for size, dead in ((5000, [0, 17, 4999]), (1, []), (0, []), (3000, range(100, 400))):
        rows = [whole(rng, (size, 4)) for _ in range(n_terms)]
        if order == "ascending":  # every block has better ones than all before it
            by = np.argsort(rows[0] @ queries[0][0])
            rows = [matrix[by] for matrix in rows]
        if order == "another modality behind":
            rows = [matrix + np.float32(len(parts)) * queries[0][0] for matrix in rows]
        parts.append((rows, np.array(dead, dtype=np.int64)))
    items, scores = nearest(queries, parts, k)
    expected_items, expected_scores = by_sorting(queries, parts, k)
    np.testing.assert_array_equal(scores, expected_scores)
    np.testing.assert_array_equal(items, expected_items)
    parts = [(rows, np.arange(len(rows[0]))) for rows, _ in parts]  # all are dead
    assert [part.shape for part in nearest(queries, parts, k)] == [(n_queries, 0)] * 2


@pytest.fixture
def index(tmp_path: Path) -> Iterator[MixedIndex]:
    with create_index(tmp_path / "index", MixedSpace(n_features=D)) as made:
        made.add_images([f"i{k}" for k in range(N)], IMAGES)
        yield made


def test_a_reader_sees_what_a_writer_adds(index: MixedIndex) -> None:
    with open_index(index.path) as reader:
        for i in range(9):  # small segments are merged meanwhile
            index.add_images([f"new{i}"], IMAGES[i : i + 1])
            assert len(reader) == N + i + 1
        assert reader.get("new3").modality == "image"
        assert index.delete(["new3", "nobody"]) == 1
        assert "new3" not in {hit.id for hit in reader.search(image=IMAGES[3], k=1000)}
        assert len(list((index.path / "vectors").glob("*.arrow"))) < 4


def test_a_list_is_known_by_what_it_says(index: MixedIndex, tmp_path: Path) -> None:
    """A list that replaces another may get its inode back, and have its size and time."""
    listed, kept = index.path / "vectors" / "segments.json", tmp_path / "kept"
    index.add_images(["changing"], IMAGES[:1], [{"now": 1}])
    with open_index(index.path) as reader:
        assert reader.get("changing").payload == {"now": 1}
        before = listed.stat()
        os.link(listed, kept)  # so that the inode is not given to another file
        index.add_images(["changing"], IMAGES[:1], [{"now": 2}], replace=True)
        kept.write_bytes(listed.read_bytes())
        os.utime(kept, ns=(before.st_atime_ns, before.st_mtime_ns))
        kept.replace(listed)
        after = listed.stat()
        for name in ("st_ino", "st_mtime_ns", "st_size"):
            assert getattr(after, name) == getattr(before, name)
        assert reader.get("changing").payload == {"now": 2}


def test_a_crash_leaves_the_index_as_it_was(
    index: MixedIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = [hit.id for hit in index.search(image=IMAGES[0], k=1000)]
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        fail = Mock(side_effect=KeyboardInterrupt)
        patch.setattr("fillgap.search.exact.ExactBackend._write_list", fail)
        index.add_images(["late"], IMAGES[:1])
    with open_index(index.path) as again:
        assert [hit.id for hit in again.search(image=IMAGES[0], k=1000)] == before
        again.add_images(["later"], IMAGES[:1])
        names = {entry["name"] for entry in again._backend._list["segments"]}
    files = (index.path / "vectors").glob("*.npy")
    assert {path.name.partition(".")[0] for path in files} == names


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    with create_index(tmp_path / "index", MixedSpace(n_features=D)) as index:
        index.add_images([f"i{k}" for k in range(N)], IMAGES, [{"n": k} for k in range(N)])
        index.add_texts([f"t{k}" for k in range(N)], TEXTS)
        index.delete(["i3"])
        return index.path


def use(folder: Path) -> str | None:
    """Return the refusal of an index that is opened and asked, or None."""
    try:
        with open_index(folder) as index:
            index.search(text=IMAGES[0], k=3 * N, explain=True)
            index.sample("image", 5)
            index.get("i0")
    except InputError as error:
        return str(error)
    return None


@pytest.mark.parametrize(
    "name",
    [
        "vectors/000001.arrow", "vectors/000001.raw.npy", "vectors/000001-000003.dead.npy",
        "vectors/segments.json", "manifest.json",
    ],
)  # fmt: skip
def test_any_wrong_byte_is_refused_or_harmless(folder: Path, name: str) -> None:
    path = folder / name
    assert use(folder) is None
    data = path.read_bytes()
    cut = [data[:i] for i in range(0, len(data), 41)]
    flipped = [data[:i] + bytes([data[i] ^ 0xFF]) + data[i + 1 :] for i in range(0, len(data), 7)]
    told = [use(folder) for _ in map(path.write_bytes, cut + flipped)]
    assert sum(one is not None for one in told) > len(told) / 10
    assert not any("\n" in one for one in told if one)


def listed(change: Callable[[dict[str, Any]], Any]) -> Callable[[bytes], bytes]:
    """Change the list of segments."""

    def changed(data: bytes) -> bytes:
        change(content := json.loads(data))
        return json.dumps(content).encode()

    return changed


def array(rows: list[Any]) -> Callable[[bytes], bytes]:
    buffer = io.BytesIO()
    np.save(buffer, np.array(rows))
    return lambda _: buffer.getvalue()


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("segments.json", lambda _: b"[" * 100_000),
        ("segments.json", listed(lambda c: c["segments"][0].update(modality="imbge"))),
        ("segments.json", listed(lambda c: c["segments"][0].update(count=-1))),
        ("segments.json", listed(lambda c: c["segments"][0].update(dead=5))),
        ("segments.json", listed(lambda c: c["segments"].append(c["segments"][0]))),
        ("segments.json", listed(lambda c: c.update(next="x"))),
        ("segments.json", listed(lambda c: c.update(next=None))),
        ("000001.raw.npy", None),
        *[("000001-000003.dead.npy", array(r)) for r in ([N], [3, 3], [-1], [[3]], [3.0])],
    ],
)
def test_what_no_writer_writes_is_refused_by_name(
    folder: Path, name: str, change: Callable[[bytes], bytes] | None
) -> None:
    path = folder / "vectors" / name
    data = path.read_bytes()
    path.unlink()
    if change is not None:
        path.write_bytes(change(data))
    assert f"{name} must be a whole file of an index" in str(use(folder))

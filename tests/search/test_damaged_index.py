"""An index with wrong bytes: refused in one sentence, or searched; the program never ends."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fillgap import InputError
from fillgap.search import create_index, open_index
from fillgap.space import MixedSpace

N, D = 24, 6
RNG = np.random.default_rng(0)
IMAGES, TEXTS = RNG.normal(size=(2, N, D)).astype(np.float32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("damaged") / "index"
    with create_index(path, MixedSpace(n_features=D)) as index:
        index.add_images([f"i{k}" for k in range(N)], IMAGES, [{"n": k} for k in range(N)])
        index.add_texts([f"t{k}" for k in range(N)], TEXTS)
        index.delete(["i3"])
    return path


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


@contextmanager
def kept(path: Path) -> Iterator[bytes]:
    """Yield the bytes of a file, and put them back."""
    data = path.read_bytes()
    try:
        yield data
    finally:
        path.write_bytes(data)


def each_damage(data: bytes) -> list[bytes]:
    flipped = [data[:i] + bytes([data[i] ^ 0xFF]) + data[i + 1 :] for i in range(0, len(data), 7)]
    return flipped + [data[:i] for i in range(0, len(data), 41)]


@pytest.mark.parametrize(
    "name",
    [
        "vectors/000001.arrow", "vectors/000001.raw.npy", "vectors/000001-000003.dead.npy",
        "vectors/segments.json", "manifest.json",
    ],
)  # fmt: skip
def test_any_wrong_byte_is_refused_or_harmless(folder: Path, name: str) -> None:
    path = folder / name
    refusals = []
    with kept(path) as data:
        for damaged in each_damage(data):
            path.write_bytes(damaged)
            refusals.append(use(folder))
    told = [one for one in refusals if one is not None]
    assert len(told) > len(refusals) / 10
    assert all("\n" not in one for one in told)
    assert use(folder) is None


def with_segments(change: Callable[[dict[str, Any]], Any]) -> Callable[[bytes], bytes]:
    def changed(data: bytes) -> bytes:
        content = json.loads(data)
        change(content)
        return json.dumps(content).encode()

    return changed


@pytest.mark.parametrize(
    "change",
    [
        lambda _: b"[" * 100_000,
        with_segments(lambda c: c["segments"][0].update(modality="imbge")),
        with_segments(lambda c: c["segments"][0].update(count=-1)),
        with_segments(lambda c: c["segments"][0].update(dead=5)),
        with_segments(lambda c: c["segments"].append(c["segments"][0])),
        with_segments(lambda c: c.update(next="x")),
        with_segments(lambda c: c.update(next=None)),
    ],
)
def test_a_list_of_segments_that_no_writer_writes_is_refused(
    folder: Path, change: Callable[[bytes], bytes]
) -> None:
    path = folder / "vectors/segments.json"
    with kept(path) as data:
        path.write_bytes(change(data))
        assert "segments.json must be a whole file of an index" in str(use(folder))


def test_a_file_that_is_missing_is_named(folder: Path) -> None:
    path = folder / "vectors/000001.raw.npy"
    with kept(path):
        path.unlink()
        assert "000001.raw.npy must be a whole file" in str(use(folder))


def test_rows_that_are_gone_must_be_rows(folder: Path) -> None:
    path = folder / "vectors/000001-000003.dead.npy"
    with kept(path):
        for rows in ([N], [3, 3], [-1], [[3]], [3.0]):
            np.save(path, np.array(rows))
            assert "dead.npy must be a whole file" in str(use(folder))

"""Every engine gives what exact search gives, keeps what it was given, and says what is wrong."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from export_spaces import needed
from filled_index import NASTY, STAGES, D, N, X, Y, fill, fitted_space
from fillgap.cli.app import run
from fillgap.errors import InputError, InputTypeError
from fillgap.search import MixedIndex, create_index, open_index
from fillgap.search.opening import BACKENDS, new_index
from fillgap.space import MixedSpace
from postgres import running_postgres
from worlds import make_gapped

PACKAGES = {"qdrant-edge": "qdrant_edge", "lancedb": "lancedb", "pgvector": "psycopg"}


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with running_postgres() as address:
        yield address


@pytest.fixture(params=sorted(BACKENDS), scope="module")
def engine(request: pytest.FixtureRequest) -> dict[str, Any]:
    """The name of an engine and its options."""
    name = request.param
    if name in PACKAGES:
        needed(PACKAGES[name])
    if name == "pgvector":
        return {"backend": name, "server": request.getfixturevalue("server")}
    return {"backend": name}


@pytest.fixture(scope="module")
def built(engine: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A filled index, which is closed, and is never written to again."""
    path = tmp_path_factory.mktemp("built") / "index"
    with new_index(path, fitted_space(), **engine) as made:
        fill(made)
    return path


@pytest.fixture
def index(tmp_path: Path, built: Path, engine: dict[str, Any]) -> Iterator[MixedIndex]:
    """Another like it, which is open and may be written to."""
    if "server" in engine:
        with new_index(tmp_path / "index", fitted_space(), **engine) as made:
            fill(made)
    else:
        shutil.copytree(built, tmp_path / "index")
    with open_index(tmp_path / "index") as opened:
        yield opened


def test_hits_are_those_of_exact_search(built: Path, filled: MixedIndex) -> None:
    with open_index(built) as index:
        for stage in STAGES:
            for query in ({"image": X[7]}, {"text": Y[7]}, {"image": X[3], "text": Y[9]}):
                for modalities in (None, "image", ["text", "image+text"]):
                    ask = {**query, "modalities": modalities, "stage": stage, "check_side": False}
                    compare_hits(index, filled, ask)
        found, wanted = (i.search_batch(texts=Y[:4], k=5) for i in (index, filled))
        assert [[h.id for h in row] for row in found] == [[h.id for h in row] for row in wanted]
        assert index.count() == filled.count() == {"image": N, "text": N, "image+text": 1}
        samples = [index.sample("text", n) for n in (20, 20, 10**6)]
        first, second, whole = ([one.id for one in sample] for sample in samples)
        assert first == second
        assert (len(set(first)), len(set(whole))) == (20, N)
        kept = {one.id: one for one in index.fetch(first)}
        for one in samples[0]:
            assert one.modality == "text"
            np.testing.assert_array_equal(one.vectors["raw"], kept[one.id].vectors["raw"])


def compare_hits(index: MixedIndex, filled: MixedIndex, ask: dict[str, Any]) -> None:
    wanted = filled.search(**ask, k=10**6)
    by_id = {hit.id: hit for hit in wanted}
    for k in (10, 10**6):
        hits = index.search(**ask, k=k, explain=True)
        assert len({hit.id for hit in hits}) == min(k, len(wanted))
        scores = [[hit.score for hit in row] for row in (hits, wanted[:k])]
        np.testing.assert_allclose(*scores, atol=1e-4)
        for hit in hits:  # of two that are level, either may be first
            other = by_id[hit.id]
            assert hit.score == pytest.approx(other.score, abs=1e-4)
            assert (hit.modality, hit.payload) == (other.modality, other.payload)
            assert getattr(hit.explanation, ask["stage"]) == pytest.approx(hit.score, abs=1e-4)


def test_ids_and_payloads_stay_text(index: MixedIndex, tmp_path: Path) -> None:
    payloads = [{name: [name, 1.5, None, {"a": "\0\ud800"}]} for name in NASTY]
    index.add_texts(NASTY, Y[: len(NASTY)] + 0.01, payloads)
    index.close()
    with open_index(tmp_path / "index") as again:
        for name, payload in zip(NASTY, payloads, strict=True):
            assert again.get(name).id == name
            assert again.get(name).payload == payload
        assert again.delete([*NASTY, "' OR '1'='1"]) == len(NASTY)
        assert len(again) == 2 * N + 1


def test_replacing_and_refusing(index: MixedIndex) -> None:
    with pytest.raises(InputError, match=r"ids must be new, got 'i3'"):
        index.add_images(["fresh", "i3"], X[:2])
    with pytest.raises(InputError, match="'fresh'"):
        index.get("fresh")
    index.add_texts(["i3"], Y[:1], [{"now": "a text"}], replace=True)
    assert index.count() == {"image": N - 1, "text": N + 1, "image+text": 1}
    assert index.get("i3").payload == {"now": "a text"}
    assert {hit.id for hit in index.search(text=Y[0], k=2, stage="raw")} == {"i3", "t0"}


def test_searches_go_on_while_documents_are_added(index: MixedIndex) -> None:
    """A batch of seven is seen whole or not at all."""
    seen, done = set(), threading.Event()

    def watch() -> None:
        while not done.is_set():
            found = index.search(image=X[0], k=10**4, modalities="image", stage="raw")
            seen.add(sum(hit.id.startswith("new") for hit in found))

    watcher = threading.Thread(target=watch)
    watcher.start()
    for i in range(8):
        index.add_images([f"new{i}-{j}" for j in range(7)], X[7 * i : 7 * i + 7])
    done.set()
    watcher.join()
    assert seen <= set(range(0, 57, 7))
    assert seen
    assert index.count()["image"] == N + 56


CRASH = """
import os, signal, sys, threading, time
import numpy as np
from fillgap.search import open_index
index, rows = open_index(sys.argv[1]), np.load(sys.argv[2])
for number in range(50):
    if number == 1:  # the first batch told how long one takes
        threading.Timer(float(sys.argv[3]) * took, os.kill, (os.getpid(), signal.SIGKILL)).start()
    start = time.perf_counter()
    index.add_images([f"late{number}-{i}" for i in range(len(rows))], rows)
    took = time.perf_counter() - start
    print(number, flush=True)
"""


@pytest.mark.parametrize("when", [0.4, 1.7])
def test_a_crash_while_a_batch_is_added(index: MixedIndex, tmp_path: Path, when: float) -> None:
    """Killed within an addition: what was added before is there, and no batch by half."""
    index.close()
    rows = np.concatenate([X] * 6)
    np.save(tmp_path / "rows.npy", rows)
    words = [str(tmp_path / "index"), str(tmp_path / "rows.npy"), str(when)]
    done = subprocess.run(
        [sys.executable, "-c", CRASH, *words], capture_output=True, text=True, check=False
    )
    assert done.returncode == -9, done.stderr
    told = done.stdout.count("\n")
    assert 1 <= told < 50
    with open_index(tmp_path / "index") as again:
        added, half = divmod(again.count()["image"] - N, len(rows))
        assert half == 0
        assert told <= added <= told + 1  # the last may have been kept but not told
        assert again.get("late0-4").modality == "image"
        again.add_images(["later"], X[:1])
        found = again.search(image=X[0], k=10**5, stage="raw")
        assert len(found) == len(again) == N + 1 + N + added * len(rows) + 1


def test_what_is_deleted_is_never_found_again(index: MixedIndex, tmp_path: Path) -> None:
    gone = ["i3", "t7", "both"]
    assert index.delete([*gone, "nobody"]) == 3
    index.optimise()
    index.close()
    with open_index(tmp_path / "index") as again:
        for query in ({"image": X[3]}, {"text": Y[7]}):
            for stage in STAGES:
                for wanted in (None, "image", "text", "image+text"):
                    found = again.search(**query, k=10**5, stage=stage, modalities=wanted)
                    assert not {hit.id for hit in found} & set(gone)
        assert not again.fetch(gone)
        sampled = {one.id for kind in ("image", "text") for one in again.sample(kind, 999)}
        assert not sampled & set(gone)
        again.add_images(["i3"], X[3:4])  # the id is free again
        assert again.search(image=X[3], k=1, stage="raw")[0].id == "i3"
        assert again.count() == {"image": N, "text": N - 1}


def test_the_commands_build_and_ask_it(
    engine: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`fillgap index` and `fillgap search` with the engine, as with exact search."""
    files = [str(tmp_path / f"{name}.npy") for name in ("images", "texts", "query")]
    for file, rows in zip(files, (X, Y, Y[7:8]), strict=True):
        np.save(file, rows)
    server = ["--server", engine["server"]] if "server" in engine else []
    found = {}
    for backend, words in ((engine["backend"], server), ("exact", [])):
        target = str(tmp_path / backend)
        options = ["--backend", backend, *words, "-o", target, "--overwrite", "--json"]
        assert run(["index", *files[:2], *options]) == 0
        assert json.loads(capsys.readouterr().out)["count"] == {"image": N, "text": N}
        with open_index(target) as made:
            assert made.manifest.backend == backend
        ask = ["--vector", files[2], "--vector-modality", "text", "--json"]
        assert run(["search", target, *ask]) == 0
        hits = json.loads(capsys.readouterr().out)["hits"]
        found[backend] = [(hit["id"], round(hit["score"], 3)) for hit in hits]
    assert found[engine["backend"]] == found["exact"]
    assert any(name.startswith("image") for name, _ in found["exact"])


def tables(engine: dict[str, Any]) -> int:
    """Return how many tables the server has, where the engine has one."""
    if "server" not in engine:
        return 0
    with needed("psycopg").connect(engine["server"]) as connection:
        query = "SELECT relname FROM pg_class WHERE relkind = 'r' AND relname LIKE 'fillgap%'"
        return len(connection.execute(query).fetchall())


def test_builds_that_fail_are_refused_or_are_replaced_leave_nothing(
    engine: dict[str, Any], tmp_path: Path
) -> None:
    path, space, before = tmp_path / "index", fitted_space(), tables(engine)
    with pytest.raises(ZeroDivisionError), new_index(path, space, **engine) as made:
        made.add_images(["a"], X[:1])
        raise ZeroDivisionError
    with pytest.raises(InputTypeError, match="must be known to it"):
        create_index(path, space, **engine, speed=11)
    assert list(tmp_path.iterdir()) == []
    assert tables(engine) == before
    for name in ("old", "new"):
        with new_index(path, space, overwrite=True, **engine) as made:
            made.add_images([name], X[:1])
    with open_index(path) as again:
        assert [hit.id for hit in again.search(image=X[0])] == ["new"]
    assert tables(engine) == before + ("server" in engine)


def test_an_empty_index_finds_nothing(engine: dict[str, Any], tmp_path: Path) -> None:
    with create_index(tmp_path / "index", fitted_space(), **engine) as made:
        assert made.search(text=Y[0], k=5) == []
        assert made.search(image=X[0], text=Y[0], check_side=False) == []
        assert made.count() == {}
        assert len(made) == 0
        assert made.sample("image", 3) == []
        assert made.delete(["nobody"]) == 0


def test_vectors_that_are_gone_are_one_sentence(index: MixedIndex, tmp_path: Path) -> None:
    if index.manifest.backend == "qdrant-edge":
        with pytest.raises(InputError, match="open in one program at a time"):
            open_index(tmp_path / "index")
    index.close()
    if index.manifest.backend == "pgvector":
        index._backend.drop()
        index.close()
    else:
        shutil.rmtree(tmp_path / "index" / "vectors")
    with pytest.raises(InputError, match="uild (the index|it) again"):
        open_index(tmp_path / "index")
    assert not (tmp_path / "index" / "vectors").exists()


def test_graphs_find_what_exact_search_finds(
    engine: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With graphs built, over a gap, with a filter and without."""
    if engine["backend"] == "exact":
        pytest.skip("it has no graphs")
    for module in ("lancedb", "pgvector"):
        monkeypatch.setattr(f"fillgap.search.{module}._LEAST_INDEXED", 100)
    images, texts = (side.astype(np.float32) for side in make_gapped(1500, D, seed=5))
    found = {}
    for options in (engine, {"backend": "exact"}):
        space = MixedSpace(n_features=D)
        with create_index(tmp_path / options["backend"], space, **options) as made:
            made.add_images([f"i{i}" for i in range(1500)], images)
            made.add_texts([f"t{i}" for i in range(1500)], texts)
            made.optimise()
            made.add_texts(["late"], texts[:1] + 1e-3)  # not in any graph yet
            found[options["backend"]] = [
                {hit.id for hit in hits}
                for wanted in (None, "image", "text")
                for hits in made.search_batch(texts=texts[:20], k=10, modalities=wanted)
            ]
    pairs = zip(found[engine["backend"]], found["exact"], strict=True)
    recall = np.mean([len(some & all_) / 10 for some, all_ in pairs])
    assert recall > 0.99
    assert "late" in found[engine["backend"]][0]


@pytest.mark.parametrize(
    ("server", "message"),
    [
        ("host=127.0.0.1 port=1 password=secret", r"must answer, got 3 failures \(Connection ref"),
        ("nonsense '", "must be a connection string"),
    ],
)
def test_a_server_that_does_not_answer_is_one_sentence(
    tmp_path: Path, server: str, message: str
) -> None:
    needed("psycopg")
    with pytest.raises(InputError, match=message) as told:
        create_index(tmp_path / "index", fitted_space(), backend="pgvector", server=server)
    assert "secret" not in str(told.value)
    assert list(tmp_path.iterdir()) == []


def test_a_password_is_not_kept(tmp_path: Path, server: str) -> None:
    address = needed("psycopg").conninfo.make_conninfo(server, password="secret")
    path, options = tmp_path / "index", {"backend": "pgvector", "server": address}
    with create_index(path, fitted_space(), **options) as made:
        assert "secret" not in (path / "manifest.json").read_text()
        made._backend._connection.close()  # as when the server starts anew
        assert len(made) == 0

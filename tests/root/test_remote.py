"""Embeddings in stores: memory, web servers with and without ranges of bytes, S3 and Google."""

from __future__ import annotations

import logging
import re
import shutil
import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import fsspec
import numpy as np
import pytest

from fillgap import remote
from fillgap.aligners import load_aligner, make_aligner, save_aligner
from fillgap.cli.app import run
from fillgap.distributed import ProcessPool, apply_shards, fit_shards, measure_shards
from fillgap.errors import InputError, InputTypeError
from fillgap.io import load_rows, open_rows, open_sides, save_rows, transform_files
from fillgap.remote import as_path
from io_formats import FORMATS, HALF, make_rows
from remote_servers import google_server, plain_server, range_server, s3_server
from worlds import make_gapped

N, D = 90, 12
pytestmark = pytest.mark.filterwarnings(
    # Loops of fsspec and sessions of aiohttp live as long as the process.
    "ignore::ResourceWarning",
    "ignore::pytest.PytestUnraisableExceptionWarning",
)


@pytest.fixture
def memory() -> Iterator[fsspec.AbstractFileSystem]:
    system = fsspec.filesystem("memory")
    yield system
    system.rm("/", recursive=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clip-retrieval folder of pairs in three shards a side, float16."""
    root = tmp_path_factory.mktemp("laion")
    for side, rows in zip(("img_emb", "text_emb"), make_gapped(N, D, seed=8), strict=True):
        (root / side).mkdir()
        for i, part in enumerate(np.split((rows + 1.5).astype(HALF), [20, 50])):
            np.save(root / side / f"{side}_{i}.npy", part)
    return root


@pytest.fixture(scope="module", params=["s3", "gs"])
def bucket(folder: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    """The folder in S3 or Google storage; workers find the server by fsspec's configuration."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    store, settings, server = request.param, {"key": "key", "secret": "secret"}, s3_server
    with ExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        if store == "gs":
            # An emulator does not answer gRPC, by which the kind of a bucket is asked for.
            patch.setenv("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")
            pytest.importorskip("gcsfs")
            pytest.importorskip("gcp_storage_emulator")
            settings, server = {"token": "anon"}, google_server
        settings["endpoint_url"] = stack.enter_context(server())
        for name, value in settings.items():
            patch.setenv(f"FSSPEC_{store.upper()}_{name.upper()}", value)
        patch.setitem(fsspec.config.conf, store, settings)
        system = fsspec.filesystem(store)
        if store == "s3":
            system.mkdir("bucket")
        system.put(f"{folder}/", "bucket/laion/", recursive=True)
        yield f"{store}://bucket"


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_is_read_from_a_store_and_written_to_one(
    name: str, memory, tmp_path: Path
) -> None:
    form = FORMATS[name]
    path = tmp_path / f"a{form.suffix}"
    form.write(path, form.key or "", make_rows(50, 7, form.dtypes[0]))
    memory.put_file(str(path), f"/data/{path.name}")
    here, there = form.spec(path), form.spec(as_path(f"memory://data/{path.name}"))
    source = open_rows(there)
    assert source.name.startswith("memory://data/a")
    blocks = list(source.iter_blocks(16))
    assert [len(block) for block in blocks] == [16, 16, 16, 2]
    np.testing.assert_array_equal(np.concatenate(blocks), load_rows(here))
    transform_files(there, f"memory://out/{path.name}", lambda rows, _: rows[:, :4])
    transform_files(here, tmp_path / f"b{form.suffix}", lambda rows, _: rows[:, :4])
    memory.get_file(f"/out/{path.name}", str(tmp_path / f"c{form.suffix}"))
    b, c = (form.read(tmp_path / f"{stem}{form.suffix}") for stem in "bc")
    assert b.keys() == c.keys()
    for key in b:
        np.testing.assert_equal(b[key], c[key])


def test_folders_patterns_and_two_arrays_of_one_file(memory, tmp_path: Path, folder: Path) -> None:
    memory.put(f"{folder}/", "/laion/", recursive=True)
    here = load_rows(folder, modality="text")
    for spec in ("memory://laion", "memory://laion/text_emb", "memory://laion/*/text_emb_?.npy"):
        np.testing.assert_array_equal(load_rows(spec, modality="text"), here)
    np.savez(tmp_path / "both.npz", images=here[:5], texts=here[5:12])
    memory.put_file(str(tmp_path / "both.npz"), "/both.npz")
    images, texts = open_sides("memory://both.npz:images", "memory://both.npz:texts")
    assert (images.shape[0], texts.shape[0]) == (5, 7)
    assert images.name == "memory://both.npz:images"


def test_a_copy_that_fails_is_not_there(memory, folder: Path) -> None:
    memory.put(f"{folder}/img_emb/", "/in/", recursive=True)

    def refuse(rows, first_row):
        if first_row or len(rows) == 30:
            raise InputError("rows must be fewer.")
        return rows

    with pytest.raises(InputError, match=r"memory://in/img_emb_1\.npy: rows must be fewer"):
        transform_files("memory://in", "memory://out", refuse)
    assert memory.find("/out") == ["/out/img_emb_0.npy"]  # whole, and the next not begun


def test_an_aligner_and_rows_are_kept_in_a_store(memory, folder: Path) -> None:
    fitted = make_aligner("balanced").fit(*open_sides(folder))
    file, path = "memory://kept/a.safetensors", "memory://kept/rows.parquet"
    save_aligner(fitted, file)
    with pytest.raises(InputError, match=r"memory://kept/a\.safetensors must be a new name"):
        save_aligner(fitted, file)
    rows = load_rows(folder, modality="image")
    np.testing.assert_array_equal(load_aligner(file).transform(rows), fitted.transform(rows))
    save_rows(path, rows)
    np.testing.assert_array_equal(load_rows(path), rows)
    with pytest.raises(InputError, match="must be another file than the input"):
        transform_files(path, path, lambda x, _: x, overwrite=True)


def test_a_server_of_ranges_sends_blocks_alone(tmp_path: Path) -> None:
    rows = make_rows(60_000, 8, HALF)
    np.save(tmp_path / "rows.npy", rows)
    asked: list[int | None] = []
    with range_server(tmp_path, asked) as address:
        source = open_rows(f"{address}/rows.npy?signature=secret")
        assert "secret" not in source.name
        blocks = list(source.iter_blocks(8192))
    np.testing.assert_array_equal(np.concatenate(blocks), rows)
    assert None not in asked
    assert max(asked) <= 8192 * 8 * 2
    assert sum(asked) <= rows.nbytes + 4 * (1 << 16)


def test_a_server_without_ranges_is_read_too(tmp_path: Path, folder: Path) -> None:
    rows = make_rows(20_000, 8, HALF)
    np.save(tmp_path / "rows.npy", rows)
    save_rows(tmp_path / "rows.parquet", rows)
    shutil.copytree(folder, tmp_path / "laion")
    with plain_server(tmp_path) as address:
        for name in ("rows.npy", "rows.parquet"):
            np.testing.assert_array_equal(load_rows(f"{address}/{name}"), rows)
        here = load_rows(folder, modality="image")
        for spec in (f"{address}/laion", f"{address}/laion/img_emb/"):
            np.testing.assert_array_equal(load_rows(spec, modality="image"), here)
        with pytest.raises(InputError, match=r"nothing\.npy must be a file or folder that exists"):
            open_rows(f"{address}/nothing.npy")
        with pytest.raises(InputError, match="must be writable"):
            save_rows(f"{address}/new.npy", rows)


def test_workers_read_and_write_a_bucket(bucket: str, folder: Path, tmp_path: Path) -> None:
    there, here = make_aligner("balanced"), make_aligner("balanced").fit(*open_sides(folder))
    with ProcessPool(2) as pool:
        report = fit_shards(there, f"{bucket}/laion", executor=pool)
        assert report.n_rows == 2 * N
        np.testing.assert_allclose(there.map_x_.matrix, here.map_x_.matrix, atol=1e-9)
        save_aligner(there, f"{bucket}/a.safetensors")
        paths = [f"{bucket}/{name}" for name in ("a.safetensors", "laion/img_emb", "aligned")]
        jobs = [apply_shards(*paths, modality="image", executor=pool) for _ in range(2)]
        found, _ = measure_shards(f"{bucket}/laion", executor=pool)
    assert [(len(job.written), len(job.kept)) for job in jobs] == [(3, 0), (0, 3)]
    expected = here.transform(load_rows(folder, modality="image"))
    np.testing.assert_allclose(load_rows(f"{bucket}/aligned"), expected, atol=1e-3)
    assert found.n_images == N


def test_commands_take_addresses(bucket: str, folder: Path, tmp_path: Path, capsys) -> None:
    assert run(["measure", f"{bucket}/laion", "--json"]) == 0
    there = capsys.readouterr().out
    assert run(["measure", str(folder), "--json"]) == 0
    assert there.splitlines()[2:] == capsys.readouterr().out.splitlines()[2:]
    out = f"{bucket}/fitted.safetensors"
    assert run(["fit", "mean-centering", f"{bucket}/laion", "-o", out]) == 0
    assert out in capsys.readouterr().out
    assert run(["fit", "mean-centering", f"{bucket}/laion", "-o", out]) == 2
    assert f"{out} must be a new name" in capsys.readouterr().err
    # An object that has changed is not taken for finished.
    system = fsspec.filesystem(bucket.partition(":")[0])
    for seed, code in ((0, 0), (2, 2)):
        np.save(tmp_path / "part_0.npy", make_rows(20, D, HALF, seed=seed))
        system.put_file(str(tmp_path / "part_0.npy"), "bucket/in/part_0.npy")
        apply = ["apply", out, f"{bucket}/in", "--modality", "image", "-o", f"{bucket}/made"]
        assert run([*apply, "--workers", "1"]) == code
    assert f"{bucket}/made/part_0.npy must be a new name" in capsys.readouterr().err
    nothing = bucket.replace("bucket", "nothing")
    assert run(["measure", f"{nothing}/images.npy", f"{nothing}/texts.npy"]) == 2
    told = capsys.readouterr().err
    assert f"{nothing}/images.npy must be a file or folder that exists" in told
    assert run(["fit", "balanced", f"{bucket}/laion", "-o", f"{nothing}/a.safetensors"]) == 2
    words = "a.safetensors must be writable, got '.*(bucket does not exist|/b/nothing)"
    assert re.search(words, capsys.readouterr().err)


def test_refusals_of_stores(memory) -> None:
    with memory.open("/bad/objects.npy", "wb") as file:
        np.save(file, np.array([{}, []], dtype=object), allow_pickle=True)
    for spec, words in (
        ("memory://bad/objects.npy", "pickled objects, which are never loaded"),
        ("memory://none", "must be a file or folder that exists"),
        ("nowhere://bucket/rows.npy", "protocol that fsspec knows, got 'nowhere'"),
    ):
        with pytest.raises((InputError, InputTypeError), match=words):
            open_rows(spec)


def test_a_package_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.setitem(sys.modules, "ossfs", None)
    assert run(["measure", "oss://bucket/images.npy", "oss://bucket/texts.npy"]) == 2
    told = capsys.readouterr().err
    assert "pip install 'fillgap[remote]'" in told
    assert told.count("\n") == 1


def test_silence_and_refusal_take_bounded_time(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    for silent, told in ((False, "got"), (True, "got 'no answer in 0 s'")):
        monkeypatch.setattr(remote, "PATIENCE", 0.3 if silent else 30.0)
        with socket.socket() as server:
            server.bind(("127.0.0.1", 0))
            if silent:  # accepts, and never answers
                server.listen()
            address = f"http://127.0.0.1:{server.getsockname()[1]}"
            assert run(["measure", f"{address}/a.npy", "b.npy"]) == 2
        error = capsys.readouterr().err
        assert f"must be reachable, {told}" in error
        assert error.count("\n") == 1


def test_paths_of_this_machine_stay_paths(tmp_path: Path) -> None:
    assert as_path(tmp_path) == tmp_path
    assert as_path(f"file://{tmp_path}") == tmp_path
    assert str(as_path(Path("s3://bucket/a.npy"))) == "s3://bucket/a.npy"
    assert as_path("C:/data/a.npy") == Path("C:/data/a.npy")
    assert as_path("digits:/a") == Path("digits:/a")

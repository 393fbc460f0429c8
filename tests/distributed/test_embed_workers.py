"""embed by workers: the folder of one process, an encoder per worker, and a worker that is lost."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import pytest

from datasets_in_memory import scenes
from distributed_work import FatalOnce, snapshot
from fillgap.cli.app import run
from fillgap.cli.fitting import load_encoder, once
from fillgap.distributed import ProcessPool, ThisProcess
from fillgap.embed import embed_dataset
from fillgap.encoders import open_encoder


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    out = tmp_path_factory.mktemp("alone") / "out"
    embed_dataset(scenes(40), open_encoder("digit-scenes"), out, shard_rows=8)
    return snapshot(out)


def test_workers_write_what_one_process_writes_also_when_one_is_killed(expected, tmp_path) -> None:
    opener = FatalOnce(partial(scenes, 40), str(tmp_path))
    openers = opener, partial(once, load_encoder, "digit-scenes", ())
    done: list[int] = []
    with ProcessPool(2) as pool:
        manifest = embed_dataset(
            scenes(40),
            open_encoder("digit-scenes"),
            tmp_path / "out",
            shard_rows=8,
            executor=pool,
            openers=openers,
            progress=lambda n, *_: done.append(n),
        )
    assert manifest.complete
    assert max(done) == 5
    assert snapshot(tmp_path / "out") == expected
    assert (tmp_path / "fallen").exists()


def test_workers_go_on_where_a_run_stopped_or_was_killed(expected, tmp_path) -> None:
    encoder, out = open_encoder("digit-scenes"), tmp_path / "out"
    embed_dataset(scenes(40), encoder, out, shard_rows=8)
    (out / "img_emb" / "img_emb_0003.npy").unlink()
    for folder in ("", "img_emb", "text_emb", "metadata"):
        (out / folder / ".fillgap-0a1b.tmp").write_bytes(b"half")
    seen: list[tuple[int, int | None]] = []
    embed_dataset(
        scenes(40), encoder, out, executor=ThisProcess(), progress=lambda *r: seen.append(r[:2])
    )
    assert seen == [(1, 1)]  # one shard of five
    assert snapshot(out) == expected


def test_an_encoder_is_loaded_once_in_a_process() -> None:
    once.cache_clear()
    words = (load_encoder, "digit-scenes", ())
    assert once(*words) is once(*words)


def test_the_command_line_embeds_with_workers(tmp_path: Path, capsys) -> None:
    words = ["embed", "digit-scenes", "digit-scenes", "--shard-rows", "1300", "--workers", "2"]
    assert run([*words, "-o", str(tmp_path / "out"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["n_images"] > 0
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["complete"]
    assert len(manifest["shards"]) == 2

"""A dataset through an encoder into a folder: shards, resumption, refusals, what is left out."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from datasets_in_memory import Records, scenes
from distributed_work import snapshot
from fillgap.embed import embed_dataset, embed_shard
from fillgap.encoders import DigitSceneEncoder, open_encoder
from fillgap.errors import InputError
from fillgap.io import load_pair, open_sides, read_manifest


@pytest.fixture(scope="module")
def encoder() -> DigitSceneEncoder:
    return open_encoder("digit-scenes")


def test_what_is_written_is_what_the_encoder_gives(encoder, tmp_path):
    data = scenes(20)
    manifest = embed_dataset(data, encoder, tmp_path / "out", shard_rows=8)
    pair = load_pair(tmp_path / "out")
    captions = [text for record in data.records for text in record.captions]
    pixels = np.stack([record.image for record in data.records])
    np.testing.assert_allclose(pair.images, encoder.encode_images(pixels), atol=1e-6)
    np.testing.assert_allclose(pair.texts, encoder.encode_texts(captions), atol=1e-5)
    assert pair.captions == captions
    assert pair.image_ids == [record.id for record in data.records]
    assert pair.labels.tolist() == [record.label for record in data.records]
    assert pair.image_index.tolist() == [row // 2 for row in range(40)]
    assert manifest.complete
    assert (manifest.n_images, manifest.n_texts, len(manifest.shards)) == (20, 40, 3)
    assert manifest == read_manifest(tmp_path / "out")


def test_the_folder_is_one_of_clip_retrieval(encoder, tmp_path):
    out = tmp_path / "out"
    embed_dataset(scenes(5), encoder, out, dtype="float16")
    assert np.load(out / "img_emb" / "img_emb_0000.npy").dtype == np.float16
    assert [side.shape for side in open_sides(out)] == [(5, 128), (10, 128)]
    found = json.loads((out / "manifest.json").read_text())
    assert found["complete"] is True
    assert found["model"]["revision"] == encoder.revision
    np.save(out / "img_emb" / "img_emb_0001.npy", np.ones((3, 128), np.float32))
    with pytest.raises(InputError, match=r"got img_emb/img_emb_0001\.npy too"):
        load_pair(out)


def test_a_sample_keeps_texts_and_labels_with_their_images(encoder, tmp_path):
    data = scenes(20)
    embed_dataset(data, encoder, tmp_path / "out", shard_rows=8)
    part = load_pair(tmp_path / "out", max_images=7)
    by_id = {record.id: record for record in data.records}
    assert part.n_images == 7
    for row, name in enumerate(part.image_ids):
        assert part.labels[row] == by_id[name].label
        texts = [part.captions[i] for i in np.flatnonzero(part.image_index == row)]
        assert texts == list(by_id[name].captions)


def test_a_second_run_reads_and_writes_nothing(encoder, tmp_path):
    embed_dataset(scenes(300), encoder, tmp_path / "out", shard_rows=100)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.npy")}
    again = scenes(300)
    embed_dataset(again, encoder, tmp_path / "out")
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert len(again.read) == 256  # the fingerprint alone


def test_a_stopped_run_goes_on_without_losing_or_repeating_a_row(encoder, tmp_path):
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    embed_dataset(scenes(40), encoder, whole, shard_rows=8)

    def stop(done, total, what):
        if done == 29:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        embed_dataset(scenes(40), encoder, stopped, shard_rows=8, progress=stop)
    assert read_manifest(stopped).n_done == 24
    with pytest.raises(InputError, match="must be finished, got 24 of 40 records"):
        load_pair(stopped)
    seen = []
    embed_dataset(scenes(40), encoder, stopped, progress=lambda *step: seen.append(step))
    assert [step[0] for step in seen] == [24, *range(25, 41)]
    assert seen[-1][2].startswith("embed: ")
    assert seen[-1][2].endswith(" images/s")
    assert snapshot(stopped) == snapshot(whole)


SLOW = """
import signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where a shell says &
from datasets_in_memory import scenes
from fillgap.encoders import open_encoder
from fillgap.embed import embed_dataset
embed_dataset(scenes(60), open_encoder("digit-scenes"), sys.argv[1], shard_rows=8,
              progress=lambda *_: time.sleep(0.05))
"""


@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGINT])
def test_a_killed_process_leaves_what_a_second_one_goes_on_with(encoder, tmp_path, sign):
    """A process that is slow to read is stopped in the middle, as a user or a power cut would."""
    out, whole = tmp_path / "out", tmp_path / "whole"
    paths = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    words = [sys.executable, "-c", SLOW, out]
    process = subprocess.Popen(words, stderr=subprocess.PIPE, env=paths)
    while not (out / "metadata" / "metadata_0001.parquet").exists():
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.01)
    process.send_signal(sign)
    process.communicate()
    assert process.returncode != 0
    assert 8 <= read_manifest(out).n_done < 60
    embed_dataset(scenes(60), encoder, out)
    embed_dataset(scenes(60), encoder, whole, shard_rows=8)
    assert snapshot(out) == snapshot(whole)


def test_a_damaged_shard_is_refused_when_loaded_and_written_again(encoder, tmp_path):
    out = tmp_path / "out"
    embed_dataset(scenes(20), encoder, out, shard_rows=8)
    before = snapshot(out)
    victim = out / "text_emb" / "text_emb_0001.npy"
    victim.write_bytes(victim.read_bytes()[:-1] + b"?")
    with pytest.raises(InputError, match=r"text_emb_0001\.npy must be as it was written"):
        load_pair(out)
    embed_dataset(scenes(20), encoder, out)
    assert snapshot(out) == before
    victim.unlink()
    with pytest.raises(InputError, match=r"got no text_emb/text_emb_0001\.npy"):
        load_pair(out)
    embed_dataset(scenes(20), encoder, out)
    assert snapshot(out) == before


class Other(DigitSceneEncoder):
    name = "other"


def test_a_folder_of_something_else_is_refused_and_left_alone(encoder, tmp_path):
    out = tmp_path / "out"
    embed_dataset(scenes(8), encoder, out, shard_rows=4)
    before = snapshot(out)
    changed = scenes(8)
    changed.records[3] = replace(changed.records[3], captions=("a seven",))
    newer = DigitSceneEncoder()
    newer.revision = "newer"
    for data, model, options, told in (
        (scenes(8), Other(), {}, "one model, got some of digit-scenes where other"),
        (scenes(8), newer, {}, "one revision"),
        (scenes(8, "b"), encoder, {}, "one dataset, got some of scenes where b"),
        (scenes(9), encoder, {}, "one size of the dataset, got some of 8 where 9"),
        (changed, encoder, {}, "one content"),
        (scenes(8), encoder, {"dtype": "float16"}, "one type, got some of float32"),
        (scenes(8), encoder, {"shard_rows": 5}, "one size of the shards, got some of 4"),
    ):
        with pytest.raises(InputError, match=told):
            embed_dataset(data, model, out, **options)
    assert snapshot(out) == before


def test_a_folder_with_other_files_is_refused(encoder, tmp_path):
    (tmp_path / "notes.txt").write_text("precious")
    with pytest.raises(InputError, match="must be a new folder, an empty one or one of fillgap"):
        embed_dataset(scenes(8), encoder, tmp_path)
    with pytest.raises(InputError, match="must be a new folder"):
        embed_dataset(scenes(8), encoder, tmp_path / "notes.txt")
    with pytest.raises(InputError, match="must be in a folder that exists"):
        embed_dataset(scenes(8), encoder, tmp_path / "a" / "b")
    assert snapshot(tmp_path) == {"notes.txt": b"precious"}


def png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def test_broken_images_and_empty_captions_are_left_out_and_listed(encoder, tmp_path):
    data = scenes(12)
    for row, image in (
        (0, tmp_path / "missing.png"),
        (5, b"no picture"),
        (6, png(data.records[6].image)[:60]),
        (9, b""),
        (10, b""),
        (11, png(np.zeros((36, 40), np.uint8))),
    ):
        data.records[row] = replace(data.records[row], image=image)
    data.records[3] = replace(data.records[3], captions=("", " \n", "a three"))
    data.records[7] = replace(data.records[7], captions=())
    data.records[8] = replace(data.records[8], image=png(data.records[8].image))
    manifest = embed_dataset(data, encoder, tmp_path / "out", shard_rows=3)
    pair = load_pair(tmp_path / "out")
    kept = [i for i in range(9) if i not in (0, 5, 6)]
    assert manifest.shards[3].files == {}  # nothing of it can be read
    assert pair.image_ids == [f"scene-{i}" for i in kept]
    pixels = np.stack([scenes(12).records[i].image for i in kept])
    np.testing.assert_allclose(pair.images, encoder.encode_images(pixels), atol=1e-6)
    assert np.bincount(pair.image_index, minlength=6).tolist() == [2, 2, 1, 2, 0, 2]
    assert manifest.n_empty == 2
    assert [item["id"] for item in manifest.skipped] == [f"scene-{i}" for i in (0, 5, 6, 9, 10, 11)]
    reasons = [item["reason"] for item in manifest.skipped]
    assert "got nothing there" in reasons[0]
    assert all("must be a picture that can be decoded" in reason for reason in reasons[1:5])
    assert "must be of shape" in reasons[5]


def test_nothing_readable_is_refused(encoder, tmp_path):
    data = Records([replace(record, image=b"x") for record in scenes(3).records])
    with pytest.raises(InputError, match="must have images that can be read, got 3 that cannot"):
        embed_dataset(data, encoder, tmp_path / "out")
    with pytest.raises(InputError, match="records must have images, got none"):
        embed_dataset(Records([]), encoder, tmp_path / "b")


def test_shards_can_be_made_in_any_order(encoder, tmp_path):
    whole = embed_dataset(scenes(10), encoder, tmp_path / "out", shard_rows=4)
    job = {"openers": (lambda: scenes(10), lambda: encoder), "folder": tmp_path / "parts"}
    parts = [(2, range(8, 10)), (1, range(4, 8)), (0, range(4))]
    assert tuple(embed_shard(part, **job) for part in parts) == whole.shards[::-1]
    expected = snapshot(tmp_path / "out")
    del expected["manifest.json"]
    assert snapshot(tmp_path / "parts") == expected


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("{", "must be a manifest of fillgap embed"),
        ('{"kind": "embedded dataset", "format_version": 99}', "format version 1 or older"),
        ('{"kind": "embedded dataset", "format_version": 1}', "must be a manifest"),
    ],
)
def test_a_damaged_manifest_is_refused(encoder, tmp_path, content, told):
    embed_dataset(scenes(4), encoder, tmp_path / "out")
    (tmp_path / "out" / "manifest.json").write_text(content)
    with pytest.raises(InputError, match=told):
        load_pair(tmp_path / "out")
    with pytest.raises(InputError, match=told):
        embed_dataset(scenes(4), encoder, tmp_path / "out")

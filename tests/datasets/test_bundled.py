"""The bundled scenes: what is shipped, what the captions say, and what the embeddings show."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from sklearn.datasets import load_digits

from fillgap.datasets import load_class_prompts, load_digit_scenes, open_dataset, scenes
from fillgap.encoders import DigitSceneEncoder
from fillgap.encoders.digits import _WEIGHTS
from fillgap.errors import InputError

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "src" / "fillgap" / "datasets" / "digit_scenes"
PARTS = {"evaluation": 2500, "fitting": 1000, "no_gap": 500}
NAMES = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
NUMBER = r"\d|" + "|".join(NAMES)
each_part = pytest.mark.parametrize("part", PARTS)


def load(part: str):
    return load_digit_scenes(variant="no_gap") if part == "no_gap" else load_digit_scenes(part)


def table(part: str) -> dict[str, list]:
    return pq.read_table(FOLDER / f"{part}.parquet").to_pydict()


def card() -> dict[str, float]:
    text = (FOLDER / "CARD.md").read_text(encoding="utf-8")
    for needed in ("CC BY 4.0", "no benchmark", "scikit-learn", "build_demo_data.py", "10.24432"):
        assert needed in text
    rows = re.findall(r"^\| `(\w+)` \| ([\d.]+) \|", text, re.M)
    return {name: float(value) for name, value in rows}


def slow_measures(pair) -> dict[str, float]:
    """What the card states, one query after the other."""
    n = pair.n_images
    pool = np.vstack([pair.images, pair.texts]).astype(np.float64)
    item = np.r_[np.arange(n), pair.image_index]
    is_text = np.arange(len(pool)) >= n
    shares = {False: [], True: []}
    hits = {False: [], True: []}
    for q, row in enumerate(pool):
        scores = pool @ row
        scores[q] = -np.inf
        first = np.argpartition(-scores, 10)[:10]
        shares[bool(is_text[q])].append((is_text[first] != is_text[q]).mean())
        others = np.flatnonzero(is_text != is_text[q])
        found = others[np.argpartition(-scores[others], 10)[:10]]
        hits[bool(is_text[q])].append((item[found] == item[q]).any())
    total = len(pool) - 1
    return {
        "exposure_at_10_image_queries": np.mean(shares[False]) / (pair.n_texts / total),
        "exposure_at_10_text_queries": np.mean(shares[True]) / (n / total),
        "recall_at_10_image_to_text": np.mean(hits[False]),
        "recall_at_10_text_to_image": np.mean(hits[True]),
        "centroid_distance": np.linalg.norm(pair.images.mean(0) - pair.texts.mean(0)),
    }


def test_what_is_shipped_stays_small():
    files = [path for path in FOLDER.iterdir() if path.is_file()]
    assert sum(path.stat().st_size for path in [*files, _WEIGHTS]) <= 8_000_000
    assert {path.suffix for path in files} == {".md", ".parquet", ".safetensors"}


@each_part
def test_counts_and_kinds(part):
    pair, n = load(part), PARTS[part]
    assert (pair.n_images, pair.n_texts, pair.n_features) == (n, 2 * n, 128)
    for rows in (pair.images, pair.texts):
        assert rows.dtype == np.float32
        np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-6)
    assert np.array_equal(pair.image_index, np.repeat(np.arange(n), 2))
    assert (pair.thumbnails.shape, pair.thumbnails.dtype) == ((n, 36, 36), np.uint8)
    assert len(pair.captions) == 2 * n
    assert pair.name == f"digit scenes ({part.replace('_', ' ')})"
    assert np.bincount(pair.labels, minlength=10).min() > n / 20
    assert len(np.unique(pair.thumbnails.reshape(n, -1), axis=0)) == n
    pair.images[:] = 0  # it is the caller's own
    assert load(part).images.any()


def test_no_handwriting_of_one_split_is_in_the_other():
    images = load_digits().images
    used = {part: sorted({s for scene in table(part)["source"] for s in scene}) for part in PARTS}
    pixels = {part: {images[s].tobytes() for s in rows} for part, rows in used.items()}
    assert all(pixels.values())
    assert not pixels["evaluation"] & pixels["fitting"]
    assert set(used["no_gap"]) <= set(used["evaluation"])


@each_part
def test_the_first_caption_names_the_label_first_and_the_second_is_worded_differently(part):
    pair = load(part)
    for first, second, label in zip(
        pair.captions[::2], pair.captions[1::2], pair.labels, strict=True
    ):
        named = [NAMES.index(w) if w in NAMES else int(w) for w in re.findall(NUMBER, first)]
        assert named[0] == label
        assert re.search("large|big|huge", first)
        assert first != second


def test_the_encoder_knows_every_word():
    encoder = DigitSceneEncoder()
    texts = load("evaluation").captions + load("fitting").captions + load_class_prompts().prompts
    assert not any(encoder.unknown_words(text) for text in texts)


def test_the_card_states_what_is_measured():
    """With a gap and meaning, and without a gap where there should be none."""
    stated = card()
    found, without = slow_measures(load("evaluation")), slow_measures(load("no_gap"))
    for side in ("image", "text"):
        assert found[f"exposure_at_10_{side}_queries"] < 0.1
        assert 0.8 <= without[f"exposure_at_10_{side}_queries"] <= 1.25
    assert found["centroid_distance"] > 0.3
    assert found["recall_at_10_image_to_text"] >= 0.55
    assert found["recall_at_10_text_to_image"] >= 0.4
    assert without["centroid_distance"] < 0.1
    assert without["recall_at_10_image_to_text"] > 0.9
    for name, value in {**found, **{f"no_gap_{k}": v for k, v in without.items()}}.items():
        assert value == pytest.approx(stated.pop(name), abs=0.006), name
    assert set(stated) == {"zero_shot_accuracy"}


def test_class_prompts_are_three_a_class_and_recognise_the_large_digit():
    pair, prompts = load("evaluation"), load_class_prompts()
    assert prompts.class_names == NAMES
    assert prompts.texts.shape == (30, 128)
    assert np.bincount(prompts.labels).tolist() == [3] * 10
    for text, label in zip(prompts.prompts, prompts.labels, strict=True):
        assert [NAMES[label]] == [word for word in text.split() if word in NAMES]
    assert len(set(prompts.prompts)) == 30
    classes = [prompts.texts[prompts.labels == c].mean(axis=0) for c in range(10)]
    classes = np.stack([mean / np.linalg.norm(mean) for mean in classes])
    accuracy = (np.argmax(pair.images @ classes.T, axis=1) == pair.labels).mean()
    assert accuracy > 0.7
    assert accuracy == pytest.approx(card()["zero_shot_accuracy"], abs=0.006)


def test_they_are_a_dataset_too():
    dataset, pair = open_dataset("digit-scenes", split="fitting"), load("fitting")
    record = dataset[7]
    assert record.id == "fitting-0007"
    assert np.array_equal(record.image, pair.thumbnails[7])
    assert list(record.captions) == pair.captions[14:16]
    assert record.label == pair.labels[7]
    assert dataset.class_names == NAMES


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("test",), "split must be one of 'evaluation', 'fitting'"),
        (("evaluation", "closed"), "variant must be one of 'gap', 'no_gap'"),
        (("fitting", "no_gap"), "split must be 'evaluation' for the variant 'no_gap'"),
    ],
)
def test_wrong_names_are_refused_with_the_choice(arguments, said):
    with pytest.raises(InputError, match=said):
        load_digit_scenes(*arguments)


@pytest.mark.hard
def test_the_build_script_runs_from_end_to_end(tmp_path, monkeypatch):
    script = ROOT / "scripts" / "build_demo_data.py"
    options = ["--out", str(tmp_path), "--scenes", "60", "--steps", "2"]
    done = subprocess.run(
        [sys.executable, str(script), *options], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    (worst,) = re.findall(r"between PyTorch and NumPy: (\S+)", done.stdout)
    assert float(worst) < 1e-3
    assert set(card()) <= set(done.stdout.split())
    folder = tmp_path / "datasets" / "digit_scenes"
    assert {p.name for p in folder.iterdir()} == {p.name for p in FOLDER.iterdir()} - {"CARD.md"}
    monkeypatch.setattr(scenes, "_FOLDER", folder)
    rebuilt = load("evaluation")
    assert (rebuilt.n_images, load("fitting").n_images, load("no_gap").n_images) == (60, 24, 12)
    encoder = DigitSceneEncoder(tmp_path / "encoders" / "digit_scenes.safetensors")
    cosines = (encoder.encode_images(rebuilt.thumbnails) * rebuilt.images).sum(axis=1)
    assert cosines.min() > 1 - 1e-3

"""The bundled scenes: what is shipped, what the captions say, and what the embeddings show."""

from __future__ import annotations

import importlib
import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from sklearn.datasets import load_digits

import fillgap.datasets.scenes as module
from fillgap.datasets import load_class_prompts, load_digit_scenes
from fillgap.encoders import DigitSceneEncoder
from fillgap.encoders.digits import _WEIGHTS
from fillgap.errors import InputError

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "src" / "fillgap" / "datasets" / "digit_scenes"
PARTS = ("evaluation", "fitting", "no_gap")
NAMES = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
LARGE = {"large", "big", "huge"}


def load(part: str):
    return load_digit_scenes(variant="no_gap") if part == "no_gap" else load_digit_scenes(part)


def table(part: str) -> dict[str, list]:
    return pq.read_table(FOLDER / f"{part}.parquet").to_pydict()


def card() -> dict[str, float]:
    text = (FOLDER / "CARD.md").read_text(encoding="utf-8")
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


@pytest.fixture(scope="module")
def with_gap() -> dict[str, float]:
    return slow_measures(load("evaluation"))


@pytest.fixture(scope="module")
def without_gap() -> dict[str, float]:
    return slow_measures(load("no_gap"))


def test_what_is_shipped_stays_small():
    files = [path for path in FOLDER.iterdir() if path.is_file()]
    assert sum(path.stat().st_size for path in [*files, _WEIGHTS]) <= 8_000_000
    assert {path.suffix for path in files} == {".md", ".parquet", ".safetensors"}


@pytest.mark.parametrize(("part", "n"), [("evaluation", 2500), ("fitting", 1000), ("no_gap", 500)])
def test_counts_and_kinds(part, n):
    pair = load(part)
    assert (pair.n_images, pair.n_texts, pair.n_features) == (n, 2 * n, 128)
    assert pair.images.dtype == pair.texts.dtype == np.float32
    for rows in (pair.images, pair.texts):
        np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-6)
    assert np.array_equal(pair.image_index, np.repeat(np.arange(n), 2))
    assert pair.thumbnails.shape == (n, 36, 36)
    assert pair.thumbnails.dtype == np.uint8
    assert pair.labels.shape == (n,)
    assert len(pair.captions) == 2 * n


@pytest.mark.parametrize("part", PARTS)
def test_every_class_is_there_and_every_scene_is_another(part):
    pair = load(part)
    assert np.bincount(pair.labels, minlength=10).min() > pair.n_images / 20
    assert len(np.unique(pair.thumbnails.reshape(pair.n_images, -1), axis=0)) == pair.n_images


def test_no_handwriting_of_one_split_is_in_the_other():
    images = load_digits().images
    used = {part: sorted({s for scene in table(part)["source"] for s in scene}) for part in PARTS}
    evaluation, fitting = (
        {images[s].tobytes() for s in used[p]} for p in ("evaluation", "fitting")
    )
    assert evaluation
    assert fitting
    assert not evaluation & fitting
    assert set(used["no_gap"]) <= set(used["evaluation"])


@pytest.mark.parametrize("part", PARTS)
def test_thumbnails_show_the_handwriting_that_the_table_names(part):
    """The ink of the scene is that of its digits: 1 pixel each, 4 of the large one."""
    data, digits = table(part), load_digits()
    assert {len(sources) for sources in data["source"]} == {2, 3, 4, 5}
    for canvas, sources, label in zip(
        load(part).thumbnails, data["source"], data["label"], strict=True
    ):
        ink = np.floor(digits.images[sources] * (255 / 16)).sum(axis=(1, 2))
        assert canvas.sum() == ink.sum() + 3 * ink[0]
        assert digits.target[sources[0]] == label


def read_caption(caption: str) -> list[tuple[int, tuple[int, int] | None, bool]]:
    """Understand a caption by itself: (number, (row, column) in thirds or None, large) for each."""
    opening = "there is |a picture with |a drawing of |this scene shows |[a-z ]+: "
    body = re.sub(f"^({opening})", "", caption)
    understood = []
    for clause in re.split("; |, | and | with ", body):
        words = clause.split()
        (number,) = [NAMES.index(w) if w in NAMES else int(w) for w in words if is_number(w)]
        row = 0 if {"top", "upper"} & {*words} else 2 if {"bottom", "lower"} & {*words} else 1
        column = 0 if "left" in words else 2 if "right" in words else 1
        placed = {"in", "at", "on"} & {*words}
        understood.append((number, (row, column) if placed else None, bool({*words} & LARGE)))
    return understood


def is_number(word: str) -> bool:
    return word in NAMES or word.isdigit()


def shown_in(part: str) -> list[list[tuple[int, tuple[int, int]]]]:
    """What the table says of each scene: (number, (row, column) in thirds), the large one first."""
    data, target = table(part), load_digits().target
    scenes = []
    for cells in zip(data["source"], data["row"], data["column"], strict=True):
        thirds = [(0, 1, 2)] + [(0, 1, 1, 2)] * 4
        scenes.append(
            [
                (int(target[source]), (third[row], third[column]))
                for third, source, row, column in zip(thirds, *cells, strict=False)
            ]
        )
    return scenes


@pytest.mark.parametrize(("part", "told"), [("evaluation", 3), ("fitting", 3), ("no_gap", 5)])
def test_captions_tell_what_the_scene_shows(part, told):
    for shown, captions in zip(shown_in(part), table(part)["captions"], strict=True):
        for caption in captions:
            said = read_caption(caption)
            assert len(said) >= min(told, len(shown)), caption
            left = list(shown)
            for number, place, large in sorted(said, key=lambda clause: clause[1] is None):
                fitting = [item for item in left if place in {None, item[1]} and item[0] == number]
                assert fitting, caption
                left.remove(fitting[0])
                assert not large or number == shown[0][0], caption
        number, place, large = read_caption(captions[0])[0]
        assert number == shown[0][0]
        assert place in {None, shown[0][1]}
        assert large


@pytest.mark.parametrize("part", PARTS)
def test_the_two_captions_of_a_scene_are_worded_differently(part):
    pair = load(part)
    assert all(a != b for a, b in zip(pair.captions[::2], pair.captions[1::2], strict=True))
    orders = [
        [number for number, *_ in read_caption(a)] != [number for number, *_ in read_caption(b)]
        for a, b in zip(pair.captions[::2], pair.captions[1::2], strict=True)
    ]
    assert np.mean(orders) > 0.5


def test_labels_are_the_digit_that_the_first_caption_names_first():
    pair = load("evaluation")
    assert [read_caption(text)[0][0] for text in pair.captions[::2]] == pair.labels.tolist()


def test_the_encoder_knows_every_word():
    encoder = DigitSceneEncoder()
    for part in ("evaluation", "fitting"):
        assert not any(encoder.unknown_words(text) for text in load(part).captions)
    assert not any(encoder.unknown_words(text) for text in load_class_prompts().prompts)


def test_there_is_a_gap(with_gap):
    assert with_gap["exposure_at_10_image_queries"] < 0.1
    assert with_gap["exposure_at_10_text_queries"] < 0.1
    assert with_gap["centroid_distance"] > 0.3


def test_there_is_meaning(with_gap):
    assert with_gap["recall_at_10_image_to_text"] >= 0.55
    assert with_gap["recall_at_10_text_to_image"] >= 0.4


def test_there_is_no_gap_where_there_should_be_none(without_gap):
    for side in ("image", "text"):
        assert 0.8 <= without_gap[f"exposure_at_10_{side}_queries"] <= 1.25
    assert without_gap["centroid_distance"] < 0.1
    assert without_gap["recall_at_10_image_to_text"] > 0.9


def test_the_card_states_what_is_measured(with_gap, without_gap):
    stated = card()
    without = {f"no_gap_{name}": value for name, value in without_gap.items()}
    for name, value in {**with_gap, **without}.items():
        assert value == pytest.approx(stated.pop(name), abs=0.006), name
    assert zero_shot() == pytest.approx(stated.pop("zero_shot_accuracy"), abs=0.006)
    assert not stated


def zero_shot() -> float:
    pair, prompts = load("evaluation"), load_class_prompts()
    classes = [prompts.texts[prompts.labels == c].mean(axis=0) for c in range(10)]
    classes = np.stack([mean / np.linalg.norm(mean) for mean in classes])
    return (np.argmax(pair.images @ classes.T, axis=1) == pair.labels).mean()


def test_class_prompts_are_three_a_class_and_name_it():
    prompts = load_class_prompts()
    assert prompts.class_names == NAMES
    assert prompts.texts.shape == (30, 128)
    assert np.bincount(prompts.labels).tolist() == [3] * 10
    for text, label in zip(prompts.prompts, prompts.labels, strict=True):
        assert [NAMES[label]] == [word for word in text.split() if word in NAMES]
    assert len(set(prompts.prompts)) == 30


def test_class_prompts_recognise_the_large_digit():
    assert zero_shot() > 0.7


@pytest.mark.parametrize("part", PARTS)
def test_digits_and_not_only_places_are_told_apart(part):
    """A probe fitted on one half finds the large digit in the other, from images and from texts."""
    pair = load(part)
    half = np.arange(pair.n_images) < pair.n_images // 2
    for rows in (pair.images, pair.texts[::2]):
        classes = np.stack([rows[half & (pair.labels == c)].mean(axis=0) for c in range(10)])
        guessed = np.argmax(
            (rows - rows[half].mean(axis=0)) @ (classes - classes.mean(0)).T, axis=1
        )
        assert (guessed == pair.labels)[~half].mean() > 0.6


def test_what_is_loaded_is_the_callers_own():
    pair = load("no_gap")
    pair.images[:] = 0
    assert load("no_gap").images.any()


def test_names_say_which_data_these_are():
    assert [load(part).name for part in PARTS] == [
        "digit scenes (evaluation)",
        "digit scenes (fitting)",
        "digit scenes (no gap)",
    ]


def test_wrong_names_are_refused_with_the_choice():
    with pytest.raises(InputError, match="split must be one of 'evaluation', 'fitting'"):
        load_digit_scenes("test")
    with pytest.raises(InputError, match="variant must be one of 'gap', 'no_gap'"):
        load_digit_scenes(variant="closed")
    with pytest.raises(InputError, match="split must be 'evaluation' for the variant 'no_gap'"):
        load_digit_scenes("fitting", "no_gap")


def test_the_card_says_what_it_is_and_is_not():
    text = (FOLDER / "CARD.md").read_text(encoding="utf-8")
    for needed in ("CC BY 4.0", "no benchmark", "scikit-learn", "build_demo_data.py", "10.24432"):
        assert needed in text


needs_torch = pytest.mark.skipif(
    importlib.util.find_spec("torch") is None,
    reason="PyTorch is not installed: it is needed to rebuild the demonstration data only",
)


@needs_torch
@pytest.mark.parametrize(("shift", "code"), [(0.0, 0), (0.05, 0), (0.2, 1), (-0.2, 1)])
def test_the_build_script_compares_what_it_measures_with_the_card(monkeypatch, shift, code):
    monkeypatch.syspath_prepend(ROOT / "scripts")
    script = importlib.import_module("build_demo_data")
    monkeypatch.setattr(script.torch, "set_num_threads", lambda _: None)
    monkeypatch.setattr(sys, "argv", ["build_demo_data.py"])
    measured = {
        name: value + shift * (name == "centroid_distance") for name, value in card().items()
    }
    monkeypatch.setattr(script, "build", lambda *_: measured)
    assert script.main() == code


@needs_torch
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
    monkeypatch.setattr(module, "_FOLDER", folder)
    rebuilt = load("evaluation")
    assert (rebuilt.n_images, load("fitting").n_images, load("no_gap").n_images) == (60, 24, 12)
    encoder = DigitSceneEncoder(tmp_path / "encoders" / "digit_scenes.safetensors")
    cosines = (encoder.encode_images(rebuilt.thumbnails) * rebuilt.images).sum(axis=1)
    assert cosines.min() > 1 - 1e-3

"""Experiments that begin at pictures: datasets × encoders, embedded once and kept."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

from PIL import Image

from fillgap import InputError
from fillgap.cli.app import run
from fillgap.datasets import draw_pairs, open_dataset
from fillgap.encoders import open_encoder
from fillgap.encoders.torch_models import find_weights
from fillgap.metrics import itr
from fillgap.papers.experiment import runner
from fillgap.papers.experiment.rows import ExperimentResults
from fillgap.papers.experiment.runner import run_experiment
from fillgap.papers.experiment.specification import (
    EncoderModel,
    Experiment,
    PictureData,
    Representation,
    default_name,
    read_experiment,
)
from fillgap.papers.fill_the_gap import printed
from tiny_models import WORDS, save_clip, save_siglip

pytestmark = pytest.mark.filterwarnings("ignore")  # of the libraries, about each other
N = 30


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("models")
    save_clip(root / "clip")
    save_siglip(root / "siglip")
    return root


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder of pictures with a table of captions."""
    folder, rng = tmp_path / "photos", np.random.default_rng(0)
    folder.mkdir()
    lines = ["file_name,caption"]
    for i in range(N):
        pixels = rng.integers(0, 256, (18, 20, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{i:02}.png")
        lines.append(f"{i:02}.png,{' '.join(rng.choice(WORDS, 5))}")
    (folder / "captions.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


@pytest.fixture
def experiment(models: Path, photos: Path) -> Experiment:
    encoders = [
        EncoderModel(kind, f"{kind}:{models / kind}", {"device": "cpu"})
        for kind in ("clip", "siglip")
    ]
    return Experiment(
        "photos",
        (PictureData("photos", f"folder:{photos}"),),
        (Representation("raw"), Representation("centred", "mean-centering")),
        ("itr", "recall_at_1"),
        n_judged=10,
        n_separate=15,
        encoders=tuple(encoders),
    )


def found_by(experiment: Experiment, cache: Path | None = None) -> ExperimentResults:
    return run_experiment(experiment, cache=cache, n_workers=1)


class TestPictures:
    def test_every_dataset_meets_every_encoder_on_the_pictures_that_were_drawn(
        self, experiment: Experiment, models: Path, photos: Path
    ) -> None:
        found = found_by(experiment)
        assert [data.name for data in found.data] == ["photos clip", "photos siglip"]
        for row in found.rows:
            kind = row.data.removeprefix("photos ")
            assert row.path == f"folder:{photos}"
            assert row.encoder == f"{kind}@{find_weights(models / kind).revision}"
            assert (row.n_judged, row.n_separate, row.reason) == (10, 15, None)
        dataset = open_dataset(experiment.data[0].dataset)
        pairs, _ = draw_pairs(dataset, n_pairs=10, n_transport=15, random_state=0)
        encoder = open_encoder(f"clip:{models / 'clip'}", device="cpu")
        images = encoder.encode_images([pair.image for pair in pairs])
        texts = encoder.encode_texts([pair.captions[0] for pair in pairs])
        assert found.value("photos clip", "raw", "itr") == itr(images, texts).value

    def test_nothing_is_embedded_twice(
        self, experiment: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        first = found_by(experiment, tmp_path / "cache")
        monkeypatch.setattr(runner, "open_encoder", None)  # whoever calls it fails
        again = found_by(experiment, tmp_path / "cache")
        assert again.rows == first.rows
        assert again.n_cached == 8
        other = replace(experiment, measures=("tir",))  # of the same embeddings
        assert found_by(other, tmp_path / "cache").value("photos clip", "raw", "tir") is not None
        monkeypatch.undo()
        path = next((tmp_path / "cache").rglob("img_emb_0000.npy"))
        path.write_bytes(path.read_bytes()[:-4])  # damaged: embedded again
        assert found_by(experiment, tmp_path / "cache").rows == first.rows

    @pytest.mark.parametrize("what", ["picture", "caption", "weights", "seed", "device"])
    def test_what_the_embeddings_depend_on(
        self, experiment: Experiment, photos: Path, models: Path, tmp_path: Path, what: str
    ) -> None:
        import shutil

        shutil.copytree(models / "clip", tmp_path / "clip")
        model = EncoderModel("clip", f"clip:{tmp_path / 'clip'}", {"device": "cpu"})
        experiment = replace(experiment, encoders=(model,))
        found_by(experiment, tmp_path / "cache")
        before = set((tmp_path / "cache" / "embeddings").iterdir())
        if what == "picture":
            for path in photos.glob("*.png"):
                Image.new("RGB", (9, 9)).save(path)
        elif what == "caption":
            table = photos / "captions.csv"
            table.write_text(table.read_text().replace(" ", " a "))
        elif what == "weights":
            weights = tmp_path / "clip" / "model.safetensors"
            content = bytearray(weights.read_bytes())
            content[-100] ^= 1
            weights.write_bytes(content)
        elif what == "seed":
            experiment = replace(experiment, random_state=1)
        else:  # how a model runs is nothing that its embeddings depend on
            experiment = replace(experiment, encoders=(replace(model, options={"batch_size": 2}),))
        found_by(experiment, tmp_path / "cache")
        after = set((tmp_path / "cache" / "embeddings").iterdir())
        assert len(after - before) == (0 if what == "device" else 2)

    def test_broken_pictures_are_told(self, experiment: Experiment, photos: Path) -> None:
        for path in sorted(photos.glob("*.png"))[:8]:
            path.write_bytes(b"no picture")
        row = found_by(replace(experiment, n_judged=2500, n_separate=5000)).rows[0]
        assert row.n_judged <= 10 and row.n_separate <= 20  # divided in proportion
        assert row.n_judged + row.n_separate == N - 8
        assert "images could not be read and were left out" in row.note

    def test_an_encoder_that_cannot_be_had_does_not_stop_the_others(
        self, experiment: Experiment, models: Path
    ) -> None:
        gone = EncoderModel("gone", f"clip:{models / 'gone'}")
        found = found_by(replace(experiment, encoders=(gone, *experiment.encoders[:1])))
        assert (
            "gone must be a file or folder that exists"
            in found.find("photos gone", "raw", "itr").reason
        )
        assert found.value("photos clip", "raw", "itr") is not None
        with pytest.raises(InputError, match="gone must be a file or folder that exists"):
            found_by(replace(experiment, encoders=(gone,)))

    def test_two_of_one_name_are_refused(self, experiment: Experiment) -> None:
        (data,), (clip, siglip) = experiment.data, experiment.encoders
        with pytest.raises(InputError, match="names of data must differ, got 'photos a b' twice"):
            replace(
                experiment,
                data=(data, replace(data, name="photos a")),
                encoders=(replace(clip, name="a b"), replace(siglip, name="b")),
            )

    def test_datasets_are_opened_and_weights_hashed_once(
        self, experiment: Experiment, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        asked: list[str] = []

        def counted(name):
            before = getattr(runner, name)

            def call(what, *rest, **options):
                asked.append(str(what))
                return before(what, *rest, **options)

            monkeypatch.setattr(runner, name, call)

        for name in ("open_dataset", "find_weights", "open_encoder"):
            counted(name)
        (data,) = experiment.data
        found_by(replace(experiment, data=(data, replace(data, name="again"))))
        specs = [model.model for model in experiment.encoders]
        folders = [spec.partition(":")[2] for spec in specs]
        assert sorted(asked) == sorted([data.dataset] * 2 + specs + folders)


TOML = """
measures = ["itr", "recall_at_1"]
n_judged = 10
n_separate = 15
encoder = ["clip:models/clip"]

[[data]]
name = "photos"
dataset = "folder:photos"
captions = "captions.csv"
"""


def test_a_file_says_the_same(tmp_path: Path) -> None:
    (tmp_path / "models" / "clip").mkdir(parents=True)
    path = tmp_path / "photos.toml"
    path.write_text(TOML + '[[representation]]\nmethod = "raw"\n')
    found = read_experiment(path)
    options = {"captions": "captions.csv"}
    assert found.data == (PictureData("photos", f"folder:{tmp_path / 'photos'}", options),)
    assert found.encoders == (EncoderModel("clip", f"clip:{tmp_path / 'models' / 'clip'}"),)
    path.write_text(TOML.replace("models/clip", "openai/clip-vit-large-patch14"))
    assert read_experiment(path).encoders[0].model == "clip:openai/clip-vit-large-patch14"
    assert default_name("coco:/data/2017") == "coco"


def test_from_files_to_a_table(
    models: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "models").symlink_to(models)
    (tmp_path / "photos.toml").write_text(TOML)
    out = tmp_path / "rows.parquet"
    words = ["experiment", str(tmp_path / "photos.toml"), "-o", str(out), "--workers", "1"]
    assert run([*words, "--cache", str(tmp_path / "cache")]) == 0
    assert "n/a" not in capsys.readouterr().out
    rows = pq.read_table(out).to_pylist()
    specification = json.loads(rows[0]["specification"])
    assert specification["encoders"][0]["model"] == f"clip:{tmp_path / 'models' / 'clip'}"
    assert specification["data"][0]["options"] == {"captions": "captions.csv"}
    assert all(row["value"] is not None for row in rows)


def test_the_tables_of_the_paper_from_pictures(
    models: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photos = photos.rename(tmp_path / "coco")
    words = ["reproduce", "fill-the-gap", "--dataset", f"folder:{photos}", "--json"]
    words += ["--encoder", f"clip:{models / 'clip'}", "--encoder", f"siglip:{models / 'siglip'}"]
    words += ["--workers", "1", "--cache", str(tmp_path / "cache"), "--pairs", "10"]
    assert run([*words, "--transport", "20"]) == 0
    shown = json.loads(capsys.readouterr().out)
    cells = {(c["data"], c["representation"]): c for c in shown["cells"] if c["label"] == "ITR"}
    for data, row in (("coco clip", "COCO CLIP"), ("coco siglip", "COCO SigLIP")):
        assert cells[data, "OT"]["printed"] == printed(2, row, "OT", "itr")
        assert cells[data, "OT"]["reason"] is None
    assert cells["coco siglip", "SPEC60"]["reason"].startswith("k = 60 must be less than")
    assert run(words[:4]) == 2
    assert "pictures must be given with the encoder" in capsys.readouterr().err

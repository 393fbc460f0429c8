"""Experiments: specifications, cells, the cache, and rows in one file."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from fillgap import InputError, __version__
from fillgap.metrics import itr, mixed_recall_at_k
from fillgap.papers.experiment import runner
from fillgap.papers.experiment.cells import Cell, CellCache, cell_key
from fillgap.papers.experiment.rows import draw_rows
from fillgap.papers.experiment.runner import run_experiment
from fillgap.papers.experiment.specification import (
    EmbeddingData,
    Experiment,
    Representation,
    find_measure,
    read_experiment,
)
from worlds import make_gapped

WAYS = (
    Representation("raw"),
    Representation("SPEC4", "spectral", {"n_components": 4}, "judged"),
    Representation("too many", "spectral", {"n_components": 24}, "judged"),
    Representation("elsewhere", "mean-centering"),
)
SET = EmbeddingData("mine", "mine.npz")
MEASURES = ("itr", "mixed_recall_at_5", "frechet_distance_as_given")


@pytest.fixture
def data(tmp_path: Path) -> EmbeddingData:
    X, Y = make_gapped(90, 24, seed=1)
    np.savez(tmp_path / "mine.npz", images=X, texts=Y)
    return EmbeddingData("mine", str(tmp_path / "mine.npz"))


@pytest.fixture
def experiment(data: EmbeddingData) -> Experiment:
    return Experiment("small", (data,), WAYS, MEASURES, n_judged=40, n_separate=50)


class TestRows:
    def test_judged_and_separate_never_overlap(self, data: EmbeddingData) -> None:
        for seed in range(10):
            rows = draw_rows(data, 40, 50, seed)
            assert rows.judged.n_images == 40
            assert rows.n_separate == 50
            both = np.vstack([rows.judged.images, rows.separate.images])
            assert len(np.unique(both, axis=0)) == 90

    def test_few_rows_are_divided_in_proportion(self, data: EmbeddingData) -> None:
        rows = draw_rows(data, 2500, 5000, 0)
        assert (rows.judged.n_images, rows.n_separate) == (30, 60)
        assert draw_rows(data, 2500, 0, 0).n_separate == 0

    def test_the_fingerprint_sees_the_last_number(self, data: EmbeddingData) -> None:
        before = draw_rows(data, 2500, 0, 0).fingerprint
        X, Y = make_gapped(90, 24, seed=1)
        Y[-1, -1] += 1e-9
        other = data.path.replace("mine", "other")
        np.savez(other, images=X, texts=Y)
        assert draw_rows(replace(data, path=other), 2500, 0, 0).fingerprint != before

    def test_scenes_have_separate_rows_of_their_own(self) -> None:
        rows = draw_rows(EmbeddingData("scenes", "digit-scenes"), 2500, 5000, 0)
        assert (rows.judged.n_images, rows.judged.n_texts, rows.n_separate) == (2500, 2500, 1000)


class TestCells:
    def test_they_are_what_the_measures_say_or_the_reason(self, experiment: Experiment) -> None:
        found = run_experiment(experiment, n_workers=1)
        judged = draw_rows(experiment.data[0], 40, 50, 0).judged
        assert found.value("mine", "raw", "itr") == itr(judged.images, judged.texts).value
        recall = mixed_recall_at_k(judged.images, judged.texts, k=5)
        part = found.value("mine", "raw", "mixed_recall_at_5", "image_to_text")
        assert part == recall.image_to_text
        assert found.value("mine", "SPEC4", "itr") < 10
        row = found.find("mine", "too many", "itr")
        assert row.value is None
        assert "k = 24 must be less than min(n, m, d) = 24" in row.reason
        alone = replace(experiment, n_separate=0, n_judged=90)
        row = run_experiment(alone, n_workers=1).find("mine", "elsewhere", "itr")
        assert "other rows than those judged" in row.reason

    def test_data_that_cannot_be_read_do_not_stop_the_others(
        self, experiment: Experiment, data: EmbeddingData
    ) -> None:
        broken = EmbeddingData("broken", data.path + ".gone")
        both = replace(experiment, data=(broken, data), measures=("itr",))
        found = run_experiment(both, n_workers=1)
        assert "got nothing there" in found.find("broken", "raw", "itr").reason
        assert found.value("mine", "raw", "itr") is not None
        with pytest.raises(InputError, match="got nothing there"):
            run_experiment(replace(both, data=(broken,)), n_workers=1)


class TestCache:
    def test_a_stopped_run_goes_on(
        self, experiment: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        whole = run_experiment(experiment, n_workers=1)
        compute = runner.compute_cells
        calls: list[str] = []

        def stopped(rows, way, *rest):
            if len(calls) == 2:
                raise KeyboardInterrupt
            calls.append(way.name)
            return compute(rows, way, *rest)

        monkeypatch.setattr(runner, "compute_cells", stopped)
        with pytest.raises(KeyboardInterrupt):
            run_experiment(experiment, cache=tmp_path / "cache", n_workers=1)
        monkeypatch.setattr(runner, "compute_cells", compute)
        again = run_experiment(experiment, cache=tmp_path / "cache", n_workers=1)
        assert again.n_cached == 2 * len(MEASURES)
        assert again.rows == whole.rows
        third = run_experiment(experiment, cache=tmp_path / "cache", n_workers=1)
        assert third.n_cached == len(WAYS) * len(MEASURES)
        assert third.rows == whole.rows

    def test_what_a_cell_depends_on_changes_its_key(self, experiment: Experiment) -> None:
        def keys(some: Experiment) -> set[str]:
            return {row.cell for row in run_experiment(some, n_workers=1).rows}

        small = replace(experiment, representations=WAYS[1:2], measures=("itr",))
        way = Representation("SPEC4", "spectral", {"n_components": 5}, "judged")
        for other in (
            replace(small, random_state=1),
            replace(small, n_judged=41),
            replace(small, representations=(way,)),
            replace(small, measures=("tir",)),
        ):
            assert not keys(small) & keys(other)
        renamed = replace(small, representations=(replace(WAYS[1], name="other name"),))
        assert keys(small) == keys(renamed)

    def test_damage_is_computed_again(self, tmp_path: Path) -> None:
        cache, key = CellCache(tmp_path), cell_key({"a": 1})
        cell = Cell({"value": math.inf, "other": 0.1}, None, "a note")
        cache.put(key, cell)
        assert cache.get(key) == cell
        (path,) = tmp_path.rglob("*.json")
        path.write_text(path.read_text()[:-9])
        assert cache.get(key) is None

    def test_processes_give_the_same(self, experiment: Experiment) -> None:
        few = replace(experiment, representations=WAYS[:2])
        here = run_experiment(few, n_workers=1)
        there = run_experiment(few, n_workers=2)
        for a, b in zip(here.rows, there.rows, strict=True):
            assert (a.representation, a.measure, a.part) == (b.representation, b.measure, b.part)
            assert a.value == pytest.approx(b.value, rel=1e-9)


def test_rows_of_one_file(experiment: Experiment, tmp_path: Path) -> None:
    found = run_experiment(experiment, n_workers=1)
    table = pq.read_table(found.save(tmp_path / "rows.parquet")).to_pylist()
    assert len(table) == len(found.rows)
    for row in table:
        specification = json.loads(row["specification"])
        assert specification["n_judged"] == 40
        assert len(specification["representations"]) == len(WAYS)
        assert row["version"] == __version__
        assert row["random_state"] == 0
        assert (row["value"] is None) == (row["reason"] is not None)
    with pytest.raises(InputError, match="must be a new name"):
        found.save(tmp_path / "rows.parquet")


@pytest.mark.parametrize(
    ("function", "arguments", "sentence"),
    [
        (Representation, ("x", "specral"), "got 'specral'. Did you mean spectral"),
        (Representation, ("x", "spectral", {}, "all"), "fitted_on must be one of 'separate', 'ju"),
        (Experiment, ("x", (SET,), (WAYS[0], WAYS[0]), ("itr",)), "got 'raw' twice"),
        (Experiment, ("x", (SET,), WAYS[:1], ("itrr",)), "got 'itrr'. Did you mean itr"),
        *(
            (find_measure, (name,), "a measure must be one of")
            for name in ("recall_at_k", "recall_at_0", "recall_at_", "", 3)
        ),
    ],
)
def test_refusals(function, arguments, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        function(*arguments)


def test_measures_by_name() -> None:
    assert find_measure("recall_at_7")[1] == {"k": 7}
    assert find_measure("frechet_distance_as_given")[1] == {"unit": False}


TOML = """
measures = ["itr"]
n_judged = 40
n_separate = 50
[[data]]
path = "mine.npz"
[[representation]]
method = "raw"
[[representation]]
name = "SPEC4"
method = "spectral"
fitted_on = "judged"
n_components = 4
"""


class TestFile:
    def test_it_is_the_same_as_in_python(self, tmp_path: Path, experiment: Experiment) -> None:
        path = tmp_path / "small.toml"
        path.write_text(TOML)
        same = replace(experiment, representations=WAYS[:2], measures=("itr",))
        assert read_experiment(path) == same

    @pytest.mark.parametrize(
        ("old", "new", "message"),
        [
            ("measures", "measure", "measure must be one of the keys .*Did you mean measures"),
            ('["itr"]', '"itr"', "measures must be a list, got 'itr'"),
            ('["itr"]', "[3]", r"measures\[0\] must be a string, got 3"),
            ('["itr"]', '["irt"]', "a measure must be .*'irt'. Did you mean"),
            ("n_judged = 40", "n_judged = true", "n_judged must be a whole number, got True"),
            ("n_judged = 40", "n_judged = 1", "n_judged must be at least 4, got 1"),
            ("path", "paht", r"data\[0\].paht must be one of the keys .*Did you mean path"),
            ('path = "mine.npz"', "path = 3", r"data\[0\].path must be a string, got 3"),
            ('path = "mine.npz"', 'dataset = "coco:x"', "pictures must be given with the encoder"),
            ("[[data]]", 'encoder = ["clip:x"]\n[[data]]', "encoders must be given with the data"),
            ("[[data]]", 'encoder = [{name = "x"}]\n[[data]]', r"encoder\[0\].model must be given"),
            ("path =", 'dataset = "coco:x"\npath =', r"data\[0\].path must be left out where"),
            ('path = "mine.npz"', "", r"data\[0\].path must be given"),
            ("n_components", "n_component", r"representation\[1\]: a parameter of spectral"),
            ('"spectral"', '"spectra"', r"representation\[1\]: the method .*mean spectral"),
            ('"judged"', '"judge"', r"representation\[1\]: fitted_on must be one of"),
            ("[[data]]", "[[data", "must be a TOML file in UTF-8, got other or damaged"),
        ],
    )
    def test_a_refusal_names_the_key(
        self, tmp_path: Path, old: str, new: str, message: str
    ) -> None:
        path = tmp_path / "small.toml"
        path.write_text(TOML.replace(old, new, 1))
        with pytest.raises(InputError, match=message) as raised:
            read_experiment(path)
        assert str(path) in str(raised.value)

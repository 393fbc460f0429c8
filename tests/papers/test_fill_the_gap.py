"""The tables of "Fill the Gap": printed cells, the pattern of the paper, and what shows them."""

from __future__ import annotations

import csv
import io
import math
import re
from dataclasses import replace
from pathlib import Path

import pytest

from browser import ask, complaints
from fillgap import InputError
from fillgap.papers.experiment.rows import ExperimentResults
from fillgap.papers.experiment.runner import run_experiment
from fillgap.papers.experiment.specification import EmbeddingData
from fillgap.papers.fill_the_gap import (
    PAPER_ROWS,
    TABLES,
    PaperCell,
    cells_as_csv,
    fill_the_gap,
    find_embeddings,
    paper_cells,
    paper_row,
    printed,
    remarks,
    render_page,
)


@pytest.fixture(scope="module")
def scenes() -> ExperimentResults:
    return run_experiment(fill_the_gap(n_judged=600, n_separate=300), n_workers=1)


@pytest.fixture(scope="module")
def photographs(real_data: Path) -> ExperimentResults:
    data = EmbeddingData("coco clip", str(real_data / "coco_clip_vitb16_500"
                                          / "coco_clip_vitb16_500.npz"))  # fmt: skip
    return run_experiment(fill_the_gap((data,), n_judged=500, n_separate=0), n_workers=1)


class TestPrinted:
    def test_some_as_they_stand_in_the_paper(self) -> None:
        assert printed(2, "COCO CLIP", "ORIG", "itr") == math.inf
        assert printed(2, "CC CLIP", "OT", "tir") == 72.52
        assert printed(3, "CC SigLIP", "ORIG", "tmr") == 2498
        assert printed(4, "COCO CLIP", "OT", "frechet_distance_as_given") == 35.41
        assert printed(4, "COCO CLIP", "OT", "frechet_distance") is None
        assert printed(5, "CC LLM2CLIP", "SPEC120", "mixed_recall_at_10") == 0.96
        assert printed(6, "CC LLM2CLIP", "PCA120", "mixed_recall_at_20") == 0.38
        assert printed(5, "COCO CLIP", "SPEC20", "mixed_recall_at_5") is None

    @pytest.mark.parametrize("row", PAPER_ROWS)
    def test_recall_never_falls_with_k(self, row: str) -> None:
        for table, ways in ((5, ("ORIG", "OT", "SPEC60", "SPEC120")), (6, ("PCA20", "PCA120"))):
            for way in ways:
                found = [printed(table, row, way, measure) for _, measure, _ in TABLES[table][1]]
                assert found == sorted(found)

    def test_rows_by_name(self) -> None:
        assert [paper_row(row) for row in PAPER_ROWS] == list(PAPER_ROWS)
        assert paper_row("coco") is None

    def test_differences(self) -> None:
        inf = math.inf
        cases = {(inf, inf): 0, (3.0, inf): None, (None, 1.0): None, (3.0, 1.0): 2.0}
        for (found, known), difference in cases.items():
            cell = PaperCell(2, "d", "l", "itr", "ORIG", found, known, None)
            assert cell.difference == difference


class TestPattern:
    """ORIG and PCA blind, SPEC high: that of the paper."""

    @staticmethod
    def recall(found: ExperimentResults, way: str, k: int = 10) -> float:
        (data,) = found.data
        return found.value(data.name, way, f"mixed_recall_at_{k}", "image_to_text")

    def test_on_the_scenes(self, scenes: ExperimentResults) -> None:
        for way in ("ORIG", "PCA20", "PCA60", "PCA120"):
            assert self.recall(scenes, way) < self.recall(scenes, "SPEC20") / 2
        # The effective rank of the scenes is near 30: more components are noise.
        assert self.recall(scenes, "SPEC20") > 0.5
        assert self.recall(scenes, "recommended") > 0.5
        for measure in ("itr", "tir"):
            ratio = scenes.value("digit scenes", "SPEC20", measure)
            assert 0.3 < ratio < 3 < 20 < scenes.value("digit scenes", "ORIG", measure)
        for measure in ("imr", "tmr"):
            closed, raw = (scenes.value("digit scenes", way, measure) for way in ("SPEC20", "ORIG"))
            assert closed < raw / 10

    def test_on_photographs(self, photographs: ExperimentResults) -> None:
        for way in ("ORIG", "PCA20", "PCA60", "PCA120"):
            assert self.recall(photographs, way) < 0.05
        known = {5: 0.66, 10: 0.78, 20: 0.86}
        for k, value in known.items():
            assert self.recall(photographs, "SPEC60", k) == pytest.approx(value, abs=0.0051)
        assert photographs.value("coco clip", "ORIG", "itr") == math.inf
        assert photographs.value("coco clip", "ORIG", "tmr") == pytest.approx(496, abs=1)
        assert photographs.value("coco clip", "ORIG", "frechet_distance") == pytest.approx(
            1.105, abs=0.002
        )
        assert photographs.find("coco clip", "OT", "itr").reason
        raw = [
            photographs.value("coco clip", "ORIG", f"{name}_cosine_distance")
            for name in ("pair", "cross")
        ]
        assert raw == pytest.approx([0.690, 0.838], abs=0.001)  # figure 3


class TestShown:
    def test_every_table_and_column(self, scenes: ExperimentResults) -> None:
        cells = paper_cells(scenes)
        assert {cell.table for cell in cells} == set(TABLES)
        for cell in cells:
            assert (cell.found is None) == (cell.reason is not None)
        assert any("SPEC20 is the spectral column" in line for line in remarks(scenes))

    def test_csv(self, scenes: ExperimentResults) -> None:
        rows = list(csv.DictReader(io.StringIO(cells_as_csv(scenes))))
        assert len(rows) == len(paper_cells(scenes))
        row = next(r for r in rows if (r["measure"], r["representation"]) == ("ITR", "SPEC60"))
        assert float(row["difference"]) == pytest.approx(float(row["found"]) - 2.52)

    def test_page(self, scenes: ExperimentResults) -> None:
        page = render_page(scenes)
        assert page == render_page(scenes)
        assert re.findall(r'(?:src|href)="(?!#|data:)[^"]*"', page) == []
        assert complaints(page, width=1280) == []
        for width in (400, 1280):
            overflow = "return document.documentElement.scrollWidth - innerWidth"
            assert ask(page, overflow, width=width) <= 0

    def test_other_projections_are_drawn_beside(self, scenes: ExperimentResults) -> None:
        seen = []

        def flat(rows, seed):
            seen.append((rows, seed))
            return rows[:, :2]

        page = render_page(scenes, {"flat": flat})
        ((rows, seed),) = seen
        assert seed == scenes.experiment.random_state
        assert rows.shape == (600, 128)
        assert (rows**2).sum(axis=1) == pytest.approx(1)
        assert "digit scenes, principal components: images" in page
        assert "digit scenes, flat: images and texts" in page
        assert page.count("<svg") == render_page(scenes).count("<svg") + 1

    def test_names_are_text(self, scenes: ExperimentResults) -> None:
        evil = "<script>x</script>"
        data = replace(scenes.data[0], name=evil)
        rows = tuple(replace(row, data=evil) for row in scenes.rows)
        experiment = replace(scenes.experiment, data=(data,))
        assert "<script>" not in render_page(ExperimentResults(experiment, rows, data=(data,)))


def test_what_is_found_in_folders(tmp_path: Path) -> None:
    for part in ("a/img_emb", "a/text_emb", "b/clip/pairs", "b/clip/transport"):
        (tmp_path / part).mkdir(parents=True)
    (tmp_path / "coco siglip.npz").touch()
    (tmp_path / "notes.txt").touch()
    found = find_embeddings(tmp_path)
    assert [data.name for data in found] == ["a", "b clip", "coco siglip"]
    assert found[1].path.endswith("pairs")
    assert found[1].separate.endswith("transport")
    (whole,) = find_embeddings(tmp_path / "a")
    assert whole.path == str(tmp_path / "a")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="must hold embeddings"):
        find_embeddings(tmp_path / "empty")
    with pytest.raises(InputError, match="got nothing there"):
        find_embeddings(tmp_path / "gone")

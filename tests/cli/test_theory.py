"""The command theory: what it prints, what it writes, and its exit code."""

from __future__ import annotations

import json

import numpy as np
import pytest

from fillgap.cli.app import run
from fillgap.papers.theory.checks import page
from fillgap.papers.theory.checks.results import Chart, Check, Curve, Effort, Section
from fillgap.papers.theory.checks.theorems import lemma_section

GOOD = Check.equal("Final gap angle", 40.0, 40.1, 0.2)
BAD = Check.at_most("Excess over the bound", 2.5, -3.0, 0.1)
BROKEN = Check.equal("A limit", float("nan"), 1.0, 0.1)


@pytest.fixture
def theory(monkeypatch: pytest.MonkeyPatch, tmp_path, capsys):
    """Return a function that runs the command with small sections instead of the real ones.

    It returns the exit code, what was printed, and the efforts that sections were asked for.
    """
    monkeypatch.chdir(tmp_path)
    curve = Curve("loss", np.array([0.0, 1.0, 2.0]), np.array([3.0, 2.0, 1.0]))

    def call(*words: str, sections: tuple = ((GOOD, GOOD), (GOOD,))) -> tuple:
        efforts: list[Effort] = []

        def part(number: int, checks: tuple[Check, ...]) -> tuple:
            title = f"Theorem {number}"
            charts = (Chart(title, "step", "loss", (curve,), checks, "c"),)
            return title, lambda effort: efforts.append(effort) or Section(title, "", charts)

        parts = [part(number, checks) for number, checks in enumerate(sections, start=1)]
        monkeypatch.setattr(page, "_SECTIONS", parts)
        code = run(["theory", *words])
        captured = capsys.readouterr()
        assert captured.err == ""
        return code, captured.out, efforts

    return call


def test_what_holds_is_said_and_the_exit_code_is_0_else_3(theory, tmp_path) -> None:
    code, out, _ = theory()
    assert (code, out.count("holds"), list(tmp_path.iterdir())) == (0, 3, [])
    assert "40.0000" in out
    assert "= 40.1000 ± 0.2" in out
    assert out.endswith("3 checks, 0 of them do not hold.\n")
    code, out, _ = theory(sections=[(GOOD, BAD)])
    assert (code, out.count("DOES NOT HOLD")) == (3, 1)
    assert "2 checks, 1 of them do not hold." in out


def test_json_is_one_document_with_every_check_and_no_nan(theory) -> None:
    words = ("--json", "--quick", "--seed", "5")
    code, out, efforts = theory(*words, sections=[(GOOD, BROKEN)])
    assert (code, efforts) == (3, [Effort.of(quick=True, seed=5)])
    checks = [
        {"section": "Theorem 1", **vars(GOOD)},
        {"section": "Theorem 1", **vars(BROKEN), "value": None},
    ]
    assert json.loads(out) == {"holds": False, "quick": True, "seed": 5, "checks": checks}
    (full,) = theory(sections=[(GOOD,)])[2]
    assert full == Effort.of(quick=False, seed=0)
    assert full.n_pairs > efforts[0].n_pairs


def test_the_page_is_written_whole_also_where_a_check_fails(theory, tmp_path) -> None:
    file = tmp_path / "theory.html"
    code, out, _ = theory("-o", "theory.html", sections=[(GOOD, BAD)])
    assert (code, [path.name for path in tmp_path.iterdir()]) == (3, ["theory.html"])
    assert out.endswith("Figures: theory.html\n")
    text = file.read_text(encoding="utf-8")
    assert "<svg" in text
    assert "does not hold" in text
    file.write_text("precious")
    code, out, _ = theory("-o", "theory.html", "--overwrite", "--json")
    assert (code, json.loads(out)["holds"]) == (0, True)
    assert "precious" not in file.read_text(encoding="utf-8")


def test_real_checks_reach_the_table(document, monkeypatch) -> None:
    monkeypatch.setattr(page, "_SECTIONS", (("lemmas", lemma_section),))
    names = [check["name"] for check in document("theory", "--quick")["checks"]]
    assert sum(name.startswith("P(z·c ≥ 0)") for name in names) == 19

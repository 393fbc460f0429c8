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
STEPS = np.array([0.0, 1.0, 2.0])


def section(title: str, *checks: Check) -> Section:
    curve = Curve("loss", STEPS, np.array([3.0, 2.0, 1.0]))
    return Section(title, "A lead.", charts=(Chart(title, "step", "loss", (curve,), checks, "c"),))


@pytest.fixture
def efforts(monkeypatch: pytest.MonkeyPatch, tmp_path) -> list[Effort]:
    """Two small sections instead of the whole demonstration; what they were asked for is kept."""
    seen: list[Effort] = []

    def build(effort: Effort) -> Section:
        seen.append(effort)
        return section("Theorem 1", GOOD, GOOD)

    parts = (("a", build), ("b", lambda _: section("Theorem 2", GOOD)))
    monkeypatch.setattr(page, "_SECTIONS", parts)
    monkeypatch.chdir(tmp_path)
    return seen


@pytest.fixture
def failing(efforts, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = (("a", lambda _: section("Theorem 1", GOOD, BAD)),)
    monkeypatch.setattr(page, "_SECTIONS", parts)


def test_what_holds_is_said_and_the_exit_code_is_0(efforts, tmp_path, capsys) -> None:
    assert run(["theory"]) == 0
    captured = capsys.readouterr()
    assert captured.out.count("holds") == 3
    assert "DOES NOT HOLD" not in captured.out
    assert "40.0000" in captured.out
    assert "= 40.1000 ± 0.2" in captured.out
    assert captured.out.endswith("3 checks, 0 of them do not hold.\n")
    assert captured.err == ""
    assert list(tmp_path.iterdir()) == []


def test_what_does_not_hold_makes_it_3(failing, capsys) -> None:
    assert run(["theory"]) == 3
    out = capsys.readouterr().out
    assert "DOES NOT HOLD" in out
    assert "2 checks, 1 of them do not hold." in out


def test_json_is_one_document_with_every_check_and_no_nan(failing, capsys, monkeypatch) -> None:
    monkeypatch.setattr(page, "_SECTIONS", (("a", lambda _: section("Theorem 1", GOOD, BROKEN)),))
    assert run(["theory", "--json", "--quick", "--seed", "5"]) == 3
    found = json.loads(capsys.readouterr().out)
    assert (found["holds"], found["quick"], found["seed"]) == (False, True, 5)
    assert found["checks"] == [
        {"section": "Theorem 1", **vars(GOOD)},
        {"section": "Theorem 1", **vars(BROKEN), "value": None},
    ]


def test_quick_and_seed_reach_the_demonstration(efforts, capsys) -> None:
    for words in (["--quick", "--seed", "7"], []):
        assert run(["theory", *words]) == 0
    assert efforts[0] == Effort.of(quick=True, seed=7)
    assert efforts[1] == Effort.of(quick=False, seed=0)
    assert efforts[0].n_pairs < efforts[1].n_pairs


def test_the_page_is_written_whole_also_where_a_check_fails(failing, tmp_path, capsys) -> None:
    assert run(["theory", "-o", "theory.html"]) == 3
    assert capsys.readouterr().out.endswith("Figures: theory.html\n")
    assert [path.name for path in tmp_path.iterdir()] == ["theory.html"]
    page = (tmp_path / "theory.html").read_text(encoding="utf-8")
    assert "<svg" in page
    assert "does not hold" in page


def test_a_page_that_exists_is_kept_unless_it_may_be_replaced(efforts, tmp_path, capsys) -> None:
    (tmp_path / "theory.html").write_text("precious")
    assert run(["theory", "-o", "theory.html"]) == 2
    captured = capsys.readouterr()
    assert "got one that exists already" in captured.err
    assert captured.out == ""
    assert efforts == []
    assert (tmp_path / "theory.html").read_text() == "precious"
    assert run(["theory", "-o", "theory.html", "--overwrite", "--json"]) == 0
    assert "precious" not in (tmp_path / "theory.html").read_text(encoding="utf-8")
    assert json.loads(capsys.readouterr().out)["holds"] is True


def test_real_checks_reach_the_table(efforts, monkeypatch, capsys) -> None:
    monkeypatch.setattr(page, "_SECTIONS", (("lemmas", lemma_section),))
    assert run(["theory", "--quick", "--json"]) == 0
    names = [check["name"] for check in json.loads(capsys.readouterr().out)["checks"]]
    assert sum(name.startswith("P(z·c ≥ 0)") for name in names) == 19

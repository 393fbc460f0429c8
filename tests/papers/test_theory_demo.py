"""The demonstration: every claim is there, holds, repeats, and fails when the theory is broken."""

from __future__ import annotations

import json

import numpy as np
import pytest

from fillgap.errors import InputError
from fillgap.papers.theory.checks import subspaces, theorems
from fillgap.papers.theory.checks.page import run_theory_demo, write_theory_page
from fillgap.papers.theory.checks.results import Check, Effort, Section, TheoryDemo

TINY = Effort(n_pairs=24, n_steps=10, n_cloud=100, n_samples=4000, seed=0)


@pytest.fixture(scope="module")
def demo():
    return run_theory_demo(quick=True)


def test_every_check_holds(demo):
    assert [check.name for check in demo.checks if not check.holds] == []
    assert demo.holds
    assert len(demo.checks) > 70


def test_every_claim_is_there(demo):
    names = " | ".join(check.name for check in demo.checks)
    for claim in (
        "Final loss less the bound",
        "Final gap angle Δθ",
        "Final Δθ, loss of the batch",
        "Final Δθ for φ_min = 20°",
        "Final Δθ for φ_min = 60°",
        "Final loss without the condition",
        "Final tilt towards C",
        "share of pairs matched",
        "clouds, rotated",
        "free points, projected on C",
        "Sampling from S5",
        "Theorem 4's proof less sampling",
        "Best φ for θ = 0.9",
        "Largest excess over the bound",
    ):
        assert claim in names, claim
    assert sum(check.name.startswith("P(z·c ≥ 0)") for check in demo.checks) == 19
    assert all(check.tolerance == 1e-4 for check in demo.checks if "P(z·c" in check.name)


def test_every_chart_and_table_ends_with_a_check(demo):
    for section in demo.sections:
        for part in (*section.charts, *section.tables):
            assert part.checks, part.title
        for chart in section.charts:
            for curve in chart.curves:
                assert curve.x.shape == curve.y.shape
                assert np.isfinite(curve.y).all()
    pictures = [sphere for section in demo.sections for sphere in section.spheres]
    assert len(pictures) == 6
    assert all(len(picture.frames) == 5 for picture in pictures)
    assert all(frame.X.shape == (48, 3) for picture in pictures for frame in picture.frames)


def test_the_sampler_is_named(demo):
    captions = [chart.caption for section in demo.sections for chart in section.charts]
    assert any("Plain sampling" in caption for caption in captions)
    assert any("Tilted sampling" in caption for caption in captions)


def test_plain_form_is_json_without_nan(demo):
    text = json.dumps(demo.to_dict(), allow_nan=False)
    again = json.loads(text)
    assert again["holds"] is True
    assert again["random_state"] == 0
    first = again["sections"][0]["charts"][0]["curves"][0]
    np.testing.assert_array_equal(first["y"], demo.sections[0].charts[0].curves[0].y)


def test_infinities_become_null():
    section = Section("t", "l", charts=(), tables=())
    broken = Check.equal("n", np.nan, 1.0, 0.1)
    assert not broken.holds
    from fillgap.papers.theory.checks.results import Table

    section = Section("t", "l", tables=(Table("t", ("a",), (("1",),), (broken,)),))
    plain = TheoryDemo((section,), quick=True, random_state=0).to_dict()
    assert plain["sections"][0]["tables"][0]["checks"][0]["value"] is None
    assert plain["holds"] is False


@pytest.mark.parametrize(
    ("check", "holds"),
    [
        (Check.equal("", 1.05, 1.0, 0.1), True),
        (Check.equal("", 1.2, 1.0, 0.1), False),
        (Check.equal("", 0.8, 1.0, 0.1), False),
        (Check.at_most("", 1.05, 1.0, 0.1), True),
        (Check.at_most("", -9.0, 1.0), True),
        (Check.at_most("", 1.2, 1.0, 0.1), False),
        (Check.at_least("", 0.95, 1.0, 0.1), True),
        (Check.at_least("", 9.0, 1.0), True),
        (Check.at_least("", 0.8, 1.0, 0.1), False),
        (Check.at_most("", float("nan"), 1.0, 0.1), False),
        (Check.at_least("", float("nan"), 1.0, 0.1), False),
    ],
)
def test_checks_hold_only_within_their_tolerance(check, holds):
    assert check.holds is holds


def test_a_wrong_formula_does_not_hold(monkeypatch):
    right = subspaces.pair_limit
    monkeypatch.setattr(subspaces, "pair_limit", lambda *a, **k: right(*a, **k) + 0.1)
    section = subspaces.pair_section(TINY)
    assert not all(check.holds for check in section.checks)
    monkeypatch.setattr(theorems, "half_space_probability", lambda *a: 0.5)
    failed = [check for check in theorems.lemma_section(TINY).checks if not check.holds]
    assert len(failed) == 19


def test_equal_seeds_give_equal_arrays():
    first, second = (subspaces.pair_section(TINY) for _ in range(2))
    other = subspaces.pair_section(
        Effort(n_pairs=24, n_steps=10, n_cloud=100, n_samples=4000, seed=1)
    )
    values = [section.charts[0].curves[1].y for section in (first, second, other)]
    np.testing.assert_array_equal(values[0], values[1])
    assert np.abs(values[0] - values[2]).max() > 0


def test_progress_names_each_section(monkeypatch):
    from fillgap.papers.theory.checks import page

    empty = Section("t", "l")
    monkeypatch.setattr(page, "_SECTIONS", (("a", lambda _: empty), ("b", lambda _: empty)))
    seen = []
    run_theory_demo(progress=lambda done, total, what: seen.append((done, total, what)))
    assert seen == [(0, 2, "a"), (1, 2, "b"), (2, 2, "done")]


def test_bad_input(demo, tmp_path):
    with pytest.raises(InputError, match="random_state must be at least 0, got -1"):
        run_theory_demo(random_state=-1)
    with pytest.raises(InputError, match="must be in a folder that exists"):
        write_theory_page(demo, tmp_path / "missing" / "page.html")

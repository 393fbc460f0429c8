"""The theorems on the modality gap made visible: simulations, closed forms and sampling, checked.

Every chart ends with checks that hold or do not. Where the printed theory is wrong or needs a
condition that it does not state, the section shows it as a finding.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from fillgap._checks import check_integer
from fillgap._files import atomic_file, check_target
from fillgap._progress import Progress, silent
from fillgap.experiments.theory_demo_closed import cone_section, unconstrained_section
from fillgap.experiments.theory_demo_effort import Effort
from fillgap.experiments.theory_demo_lemmas import lemma_section
from fillgap.experiments.theory_demo_pairs import pair_section
from fillgap.experiments.theory_demo_repair import corollary_section
from fillgap.experiments.theory_demo_results import Section, TheoryDemo
from fillgap.experiments.theory_demo_subspace import subspace_section

__all__ = ["TheoryDemo", "run_theory_demo", "write_theory_page"]

_SECTIONS: tuple[tuple[str, Callable[[Effort], Section]], ...] = (
    ("theorem 1, no constraint", unconstrained_section),
    ("theorem 2, cones", cone_section),
    ("theorem 3, hyperplanes", subspace_section),
    ("corollaries, rotation and projection", corollary_section),
    ("theorems S5 and 4, pairs", pair_section),
    ("lemmas 12 and 15", lemma_section),
)


def run_theory_demo(
    *, quick: bool = False, random_state: int = 0, progress: Progress | None = None
) -> TheoryDemo:
    """Simulate, sample and compute everything that the page shows.

    Parameters
    ----------
    quick : bool
        Take smaller batches, fewer steps and fewer draws; the checks are the same.
    random_state : int
        Seed; equal seeds give equal arrays and figures on one machine.
    progress : callable, optional
        Called as progress(done, total, what), once a section.

    Returns
    -------
    TheoryDemo
        `holds` says whether every check holds, `checks` lists them.

    Raises
    ------
    InputError
        If `random_state` is negative.
    """
    report = progress or silent
    effort = Effort.of(quick=quick, seed=check_integer(random_state, "random_state", low=0))
    sections = []
    for done, (what, build) in enumerate(_SECTIONS):
        report(done, len(_SECTIONS), what)
        sections.append(build(effort))
    report(len(_SECTIONS), len(_SECTIONS), "done")
    return TheoryDemo(tuple(sections), quick, effort.seed)


def write_theory_page(demo: TheoryDemo, path: str | Path) -> None:
    """Write the demonstration as one HTML file that needs nothing from the network.

    Parameters
    ----------
    demo : TheoryDemo
        What `run_theory_demo` returned.
    path : str or path
        File to write; it is replaced only when the page is complete.

    Raises
    ------
    InputError
        If its folder does not exist or the file cannot be written.
    """
    from fillgap.experiments.theory_demo_page import render_page

    check_target(path, overwrite=True)  # before the seconds that drawing takes
    page = render_page(demo)
    with atomic_file(path) as temporary:
        temporary.write_text(page, encoding="utf-8")

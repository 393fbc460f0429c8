"""What is said before a job, while it runs and after it: plans, rates and workers."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from conftest import make_gapped
from fillgap.aligners import make_aligner, save_aligner
from fillgap.cli import output
from fillgap.cli.app import run
from fillgap.distributed import ProcessPool, ThisProcess, apply_shards, fit_shards, measure_shards
from fillgap.distributed.fit_job import with_rate
from fillgap.distributed.job_plan import plan_apply, plan_fit, plan_measure
from fillgap.errors import InputError
from fillgap.io import open_sides

N, D = 260, 16


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("shards")
    for side, rows in zip(("img_emb", "text_emb"), make_gapped(N, D, seed=3), strict=True):
        (root / side).mkdir()
        for i, part in enumerate(np.split((rows + 1.5).astype("f2"), [40, 41, 200])):
            np.save(root / side / f"{side}_{i}.npy", part)
    return root


@pytest.mark.parametrize(
    ("method", "parameters"), [("balanced", {}), ("spectral", {"n_components": 8}), ("cca", {})]
)
def test_a_plan_counts_what_a_fit_reads(method: str, parameters: dict, folder: Path) -> None:
    aligner = make_aligner(method, **parameters)
    plan = plan_fit(aligner, folder, executor=ThisProcess())
    assert not hasattr(aligner, "n_samples_")  # it is not fitted
    report = fit_shards(aligner, folder, executor=ThisProcess())
    assert (plan.n_shards, plan.n_rows, plan.n_features) == (8, 2 * N, D)
    assert plan.n_rows * plan.passes == report.n_rows
    assert plan.n_bytes * plan.passes == report.n_bytes


def test_a_plan_counts_what_a_measurement_reads(folder: Path) -> None:
    plan = plan_measure(folder, executor=ThisProcess())
    _, report = measure_shards(folder, executor=ThisProcess(), n_neighbors=9, max_queries=50)
    assert (plan.passes, plan.n_rows) == (3, 2 * N)
    assert plan.n_rows * plan.passes == report.n_rows
    assert plan.n_files == 0


def test_a_plan_of_copies_knows_what_is_finished(folder: Path, tmp_path: Path) -> None:
    fitted = make_aligner("spectral", n_components=7).fit(*open_sides(folder))
    path = save_aligner(fitted, tmp_path / "a.fit")

    def plan():
        return plan_apply(path, folder / "img_emb", tmp_path / "out", modality="image")

    before = plan()
    assert (before.n_files, before.kept, before.n_rows) == (4, 0, N)
    assert not (tmp_path / "out").exists()
    report = apply_shards(
        path, folder / "img_emb", tmp_path / "out", modality="image", executor=ThisProcess()
    )
    headers = 4 * 128
    written = sum(Path(name).stat().st_size for name in report.written)
    assert before.written_bytes == written - headers == N * 7 * 2
    (tmp_path / "out" / "img_emb_1.npy").unlink()
    after = plan()
    assert (after.n_files, after.kept, after.n_rows) == (1, 3, 1)


def test_a_plan_refuses_what_the_job_refuses(folder: Path, tmp_path: Path) -> None:
    with ProcessPool(1) as pool, pytest.raises(InputError, match="function of sums"):
        plan_fit(make_aligner("refined"), folder, executor=pool)
    with pytest.raises(InputError, match="nothing there"):
        plan_measure(tmp_path / "none", executor=ThisProcess())


def test_the_command_line_plans_and_writes_nothing(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "a.fit"
    fit = ["fit", "balanced", str(folder), "-o", str(out)]
    for options in ([], ["--workers", "1"]):
        assert run([*fit, *options, "--dry-run"]) == 0
        said = capsys.readouterr().out
        assert "Would read 8 shards with 520 rows of 16 numbers, 16.6 kB, once." in said
        assert f"Would write a file, at most 4.6 kB: {out}" in said
        assert "Nothing was written." in said
        assert not out.exists()
    assert run(["fit", "refined", str(folder), "-o", str(out), "--dry-run"]) == 0
    assert f"Would write a file: {out}" in capsys.readouterr().out
    assert run([*fit, "--workers", "1", "--json"]) == 0
    job = json.loads(capsys.readouterr().out)["job"]
    assert sum(job["rows_of_workers"].values()) == 2 * N
    apply = ["apply", str(out), str(folder / "img_emb"), "--modality", "image"]
    assert run([*apply, "-o", str(tmp_path / "copies"), "--dry-run", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["n_files"] == 4
    assert not (tmp_path / "copies").exists()
    assert run(["measure", str(folder), "--dry-run"]) == 0
    assert "Would read 8 shards" in capsys.readouterr().out
    assert run([*fit, "--dry-run"]) == 2  # the file is there by now
    assert "must be a new name" in capsys.readouterr().err


def test_progress_tells_the_rate_of_a_worker() -> None:
    said: list[str] = []
    report = with_rate(lambda done, total, what: said.append(what), 1000, 2)
    assert report is not None
    report(1, 2, "2 workers")
    assert said[0].startswith("2 workers, ")
    assert said[0].endswith(" rows/s each")


def test_a_file_of_progress_gets_a_line_now_and_then(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = [100.0]
    monkeypatch.setattr(output.time, "monotonic", lambda: now[0])
    with output.progress_bar(quiet=False) as progress:
        for done in range(1, 5):
            now[0] += 45
            progress(done, 10, "2 workers")
    assert capsys.readouterr().err.splitlines() == [
        "2 workers: 2 of 10, about 6.0 min left",
        "2 workers: 4 of 10, about 4.5 min left",
    ]
    with output.progress_bar(quiet=True) as progress:
        now[0] += 500
        progress(1, 2, "x")
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.04, "0.0 s"), (80, "80 s"), (91, "1.5 min"), (5400, "1.5 h"), (1e6, "11.6 days")],
)
def test_times_are_said_as_people_say_them(seconds: float, said: str) -> None:
    assert output.duration(seconds) == said

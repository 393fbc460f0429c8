"""Workers give the results of one process, and a lost worker costs time and nothing else."""

from __future__ import annotations

import json
import operator
import shutil
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distributed_work import Fatal, write_shards
from fillgap.aligners import Aligner, load_aligner, make_aligner, save_aligner
from fillgap.cli import output
from fillgap.cli.app import run
from fillgap.distributed import (
    EngineError,
    Executor,
    ProcessPool,
    apply_shards,
    fit_shards,
    make_executor,
    measure_shards,
)
from fillgap.distributed.fit_job import with_rate
from fillgap.distributed.job_plan import plan_apply, plan_fit, plan_measure
from fillgap.errors import InputError
from fillgap.io import load_rows, open_sides, transform_files
from fillgap.metrics.scan import scan_pool
from fillgap.metrics.summary import measure
from fillgap.metrics.verdict import Measurements
from worlds import make_gapped

N, D = 260, 16
CUTS = [40, 41, 140, 200]


class Here:
    """An executor in this process, which merges in an order of its own."""

    n_workers = 1

    def __init__(self, order: list[int] | None = None) -> None:
        self.order = order

    def map(self, function, items, *, progress=None):
        yield from map(function, items)

    def map_reduce(self, function, items, merge, *, progress=None):
        found = [function(item) for item in items]
        order = [i for i in self.order or range(len(found)) if i < len(found)]
        while len(order) > 1:  # a tree, as clusters merge
            i, j = order.pop(0), order.pop(0)
            found[i] = merge(found[i], found[j])
            order.append(i)
        return found[order[0]]


@pytest.fixture(scope="module")
def pool() -> Iterator[Executor]:
    with ProcessPool(2) as started:
        yield started


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clip-retrieval folder of pairs in five shards a side, float16."""
    # Like those of encoders, both sides lie in one half of the space: the spectral graph needs no
    # shift, and so no pass and no warning of its own.
    X, Y = ((side + 1.5).astype(np.float16) for side in make_gapped(N, D, seed=3))
    return write_shards(tmp_path_factory.mktemp("shards"), X, Y, CUTS)


FITTED = {"balanced": {}, "spectral": {"n_components": D // 2}, "orthogonal-procrustes": {}}


def assert_same_maps(one: Aligner, other: Aligner) -> None:
    rows = np.random.default_rng(5).normal(size=(40, D)) + 1.5
    for side in ("transform", "transform_y"):
        np.testing.assert_allclose(getattr(one, side)(rows), getattr(other, side)(rows), atol=1e-9)
    assert one.notes_ == other.notes_


@pytest.mark.parametrize("method", FITTED)
def test_workers_fit_what_one_process_fits(method: str, folder: Path, pool: Executor) -> None:
    alone = make_aligner(method, **FITTED[method]).fit(*open_sides(folder))
    shared = make_aligner(method, **FITTED[method])
    report = fit_shards(shared, folder, executor=pool)
    assert_same_maps(shared, alone)
    assert shared.n_samples_ == (N, N)
    assert report.n_rows == 2 * N * alone.passes
    assert not report.skipped


def test_workers_shift_the_graph_where_one_process_does(tmp_path: Path, pool: Executor) -> None:
    X, Y = make_gapped(N, D, seed=3)  # on opposite sides of zero: degrees are negative
    write_shards(tmp_path, X, Y, [40, 140])
    alone, shared = (make_aligner("spectral", **FITTED["spectral"]) for _ in range(2))
    alone.fit(*open_sides(tmp_path))
    report = fit_shards(shared, tmp_path, executor=pool)
    assert "1 was added to every weight" in alone.notes_[0]
    assert shared.shift_ == alone.shift_ == 1
    assert_same_maps(shared, alone)
    assert report.n_rows == 2 * N * (alone.passes + 1)  # once more, with the shifted weights


CUT = st.lists(st.integers(1, N - 1), max_size=6, unique=True).map(sorted)


@settings(max_examples=15, deadline=None)
@given(cuts=CUT, others=CUT, seed=st.integers(0, 99))
def test_neither_cuts_nor_the_order_of_merging_matter(cuts, others, seed) -> None:
    X, Y = (side + 1.5 for side in make_gapped(N, D, seed=3))
    order = np.random.default_rng(seed).permutation(20).tolist()
    with TemporaryDirectory() as folder:
        images = write_shards(Path(folder, "images"), X, Y, cuts) / "img_emb"
        texts = write_shards(Path(folder, "texts"), X, Y, others) / "text_emb"
        for method, parameters in (*FITTED.items(), ("cca", {})):
            aligner = make_aligner(method, **parameters)
            fit_shards(aligner, images, texts, executor=Here(order))
            assert_same_maps(aligner, make_aligner(method, **parameters).fit(X, Y))


def test_workers_align_what_one_process_aligns(folder, pool: Executor, tmp_path: Path) -> None:
    path = save_aligner(make_aligner("balanced").fit(*open_sides(folder)), tmp_path / "a.fit")
    fitted, source = load_aligner(path), folder / "img_emb"
    apply = lambda block, first: fitted.apply_block(block, "images", first)  # noqa: E731
    transform_files(source, tmp_path / "one", apply, modality="image")
    report = apply_shards(path, source, tmp_path / "many", modality="image", executor=pool)
    assert len(report.written) == 5
    for one in (tmp_path / "one").iterdir():
        assert one.read_bytes() == (tmp_path / "many" / one.name).read_bytes()


def test_finished_shards_are_kept_and_others_written_again(folder: Path, tmp_path: Path) -> None:
    path = save_aligner(make_aligner("balanced").fit(*open_sides(folder)), tmp_path / "a.fit")
    shutil.copytree(folder / "img_emb", tmp_path / "in")
    out = tmp_path / "out"

    def again(aligner: Path = path, *, overwrite: bool = False) -> tuple[int, int]:
        report = apply_shards(
            aligner, tmp_path / "in", out, modality="image", executor=Here(), overwrite=overwrite
        )
        return len(report.written), len(report.kept)

    assert again() == (5, 0)
    assert again() == (0, 5)
    (out / "img_emb_1.npy").unlink()
    (out / ".fillgap-0123456789ab.tmp").touch()  # of a worker that was killed
    assert again() == (1, 4)
    assert not list(out.glob(".fillgap-*.tmp"))
    changed = load_rows(tmp_path / "in" / "img_emb_2.npy")[::-1].copy()
    np.save(tmp_path / "in" / "img_emb_2.npy", changed)
    with pytest.raises(InputError, match="img_emb_2.npy must be a new name"):
        again()
    assert again(overwrite=True) == (1, 4)
    other = save_aligner(make_aligner("whitening").fit(*open_sides(folder)), tmp_path / "b.fit")
    with pytest.raises(InputError, match="must be a new name"):
        again(other)


def assert_measured(found: Measurements, folder: Path, rows=slice(None), k=30) -> None:
    X, Y = (load_rows(folder, modality=side)[rows] for side in ("image", "text"))
    alone = measure(X, Y, n_neighbors=k)
    assert (found.n_images, found.n_texts) == (len(X), len(Y))
    assert set(found.values) == set(alone.values)
    for name, parts in alone.values.items():
        for part, value in parts.items():
            assert found.values[name][part].value == pytest.approx(value.value, rel=1e-4, abs=1e-4)
    assert found.verdict.text == alone.verdict.text


def test_workers_measure_what_one_process_measures(folder: Path, pool: Executor) -> None:
    found, report = measure_shards(folder, executor=pool, n_neighbors=30)
    assert_measured(found, folder)
    plan = plan_measure(folder, executor=pool)
    assert (plan.passes, plan.n_rows, plan.n_files) == (3, 2 * N, 0)
    assert report.n_rows == 3 * 2 * N
    assert report.workers.keys() == report.rows_of_workers.keys()
    assert sum(report.rows_of_workers.values()) == report.n_rows


def test_mixed_modalities_in_shards_of_other_sizes_are_measured(tmp_path: Path) -> None:
    X, Y = make_gapped(N, D, seed=3, gap=0.1)  # among the nearest items are both
    sides = [write_shards(tmp_path / f"{i}", X, Y, at) for i, at in enumerate(([], CUTS))]
    paths = sides[0] / "img_emb", sides[1] / "text_emb"
    found, _ = measure_shards(*paths, executor=Here(), n_neighbors=90)
    assert_measured(found, sides[0], k=90)


def test_a_sample_of_queries_is_the_one_of_a_scan_in_memory(folder: Path) -> None:
    found, _ = measure_shards(folder, executor=Here(), n_neighbors=9, max_queries=50)
    X, Y = (load_rows(folder, modality=side) for side in ("image", "text"))
    scan = scan_pool(X, Y, n_neighbors=9, max_queries=50)
    ranks = scan.image_queries.best_other_rank
    assert found.values["tmr"]["value"].value == pytest.approx(ranks.mean())
    assert "50 of 260 images" in found.notes["queries"]
    sides = folder / "img_emb", folder / "text_emb" / "text_emb_2.npy"
    found, _ = measure_shards(*sides, executor=Here())  # of different size: unpaired
    assert (found.n_images, found.n_texts) == (N, 99)
    assert "recall_at_1" not in found.values
    assert "itr" in found.values


def test_a_killed_worker_costs_no_result(tmp_path: Path) -> None:
    items = list(range(12))
    with ProcessPool(2) as pool:
        total = pool.map_reduce(Fatal(str(tmp_path), 5), items, operator.add)
    assert total == sum(i * i for i in items)
    assert (tmp_path / "fallen").exists()
    runs = [path.name.split("-")[0] for path in tmp_path.glob("*-*")]
    assert set(map(int, runs)) == set(items)
    assert len(runs) <= len(items) + 6  # no more than what was handed out is done again


def test_workers_that_keep_dying_end_the_job(tmp_path: Path) -> None:
    with ProcessPool(1) as pool, pytest.raises(EngineError, match="killed in a row"):
        pool.map_reduce(Fatal(str(tmp_path), 0, always=True), [0], operator.add)


def torn(folder: Path) -> None:
    path = folder / "img_emb" / "img_emb_2.npy"
    path.write_bytes(path.read_bytes()[:-7])


def with_nan(folder: Path) -> None:
    path = folder / "text_emb" / "text_emb_3.npy"
    rows = np.load(path)
    rows[4] = np.nan
    np.save(path, rows)


@pytest.fixture
def copy(folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(folder, tmp_path / "copy"))


@pytest.mark.parametrize(
    ("method", "spoil", "said", "left"),
    [
        ("balanced", torn, "img_emb_2.npy must be", (N - 99, N)),
        ("orthogonal-procrustes", torn, "img_emb_2.npy must be", (N - 99, N - 99)),
        ("spectral", with_nan, "text_emb_3.npy.*finite", (N, N - 60)),
    ],
)
def test_a_bad_shard_is_named_or_skipped(copy: Path, method, spoil, said, left) -> None:
    spoil(copy)
    aligner = make_aligner(method, **FITTED[method])
    with pytest.raises(InputError, match=said):
        fit_shards(aligner, copy, executor=Here())
    report = fit_shards(aligner, copy, executor=Here(), skip_bad_shards=True)
    assert aligner.n_samples_ == left
    assert [Path(name).stem for name in report.skipped] == [said.partition(".")[0]]


def test_a_measurement_leaves_out_bad_rows_and_files(folder, copy, tmp_path) -> None:
    with_nan(copy)
    with pytest.raises(InputError, match=r"text_emb_3\.npy.*finite"):
        measure_shards(copy, executor=Here())
    torn(copy)
    found, report = measure_shards(copy, executor=Here(), n_neighbors=30, skip_bad_shards=True)
    assert_measured(found, folder, np.r_[0:41, 200:N])
    assert "recall_at_1" in found.values  # they are still pairs
    assert len(report.skipped) == 2
    assert "finite" in " ".join(report.skipped.values())
    files = tmp_path / "images.npy", tmp_path / "texts.npy"
    for file in files:
        np.save(file, np.full((20, 4), np.nan))
    with pytest.raises(InputError, match=r"images\.npy.*finite"):
        measure_shards(*files, executor=Here(), skip_bad_shards=True)


def test_refusals(folder: Path) -> None:
    for job in (fit_shards, plan_fit):
        with pytest.raises(InputError, match="function of sums"):
            job(make_aligner("refined"), folder, executor=Here())
    with pytest.raises(InputError, match="Name the engine too"):
        make_executor("processes", address="tcp://nowhere:1")
    with pytest.raises(InputError, match="must be one of"):
        make_executor("spark")
    sides = folder / "img_emb" / "img_emb_2.npy", folder / "text_emb"
    with pytest.raises(InputError, match="pairs"):
        fit_shards(make_aligner("cca"), *sides, executor=Here())


def test_the_command_line_says_what_was_skipped(copy, tmp_path, capsys) -> None:
    torn(copy)
    out = tmp_path / "a.fit"
    fit = ["fit", "balanced", str(copy), "-o", str(out), "--workers", "1"]
    assert run(fit) == 2
    error = capsys.readouterr().err
    assert "img_emb_2.npy must be" in error
    assert error.count("\n") == 1
    assert not out.exists()
    assert run([*fit, "--skip-bad-shards", "--json"]) == 3
    printed = json.loads(capsys.readouterr().out)
    assert list(printed["job"]["skipped"]) == [str(copy / "img_emb" / "img_emb_2.npy")]
    assert load_aligner(out).metadata_["skipped_shards"] == printed["job"]["skipped"]


@pytest.mark.parametrize("method", [*FITTED, "cca"])
def test_a_plan_counts_what_a_fit_reads(method: str, folder: Path) -> None:
    aligner = make_aligner(method, **FITTED.get(method, {}))
    plan = plan_fit(aligner, folder, executor=Here())
    assert not hasattr(aligner, "n_samples_")  # it is not fitted
    report = fit_shards(aligner, folder, executor=Here())
    assert (plan.n_shards, plan.n_rows, plan.n_features) == (10, 2 * N, D)
    assert plan.n_rows * plan.passes == report.n_rows
    assert plan.n_bytes * plan.passes == report.n_bytes


def test_a_plan_of_copies_knows_what_is_finished(folder: Path, tmp_path: Path) -> None:
    fitted = make_aligner("spectral", n_components=7).fit(*open_sides(folder))
    path = save_aligner(fitted, tmp_path / "a.fit")

    def plan():
        return plan_apply(path, folder / "img_emb", tmp_path / "out", modality="image")

    before = plan()
    assert (before.n_files, before.kept, before.n_rows) == (5, 0, N)
    assert not (tmp_path / "out").exists()
    report = apply_shards(
        path, folder / "img_emb", tmp_path / "out", modality="image", executor=Here()
    )
    written = sum(Path(name).stat().st_size - 128 for name in report.written)  # but the headers
    assert before.written_bytes == written == N * 7 * 2
    (tmp_path / "out" / "img_emb_1.npy").unlink()
    after = plan()
    assert (after.n_files, after.kept, after.n_rows) == (1, 4, 1)


def test_the_command_line_plans_and_writes_nothing(folder, tmp_path, capsys) -> None:
    out = tmp_path / "a.fit"
    fit = ["fit", "balanced", str(folder), "-o", str(out)]
    for options in ([], ["--workers", "1"]):
        assert run([*fit, *options, "--dry-run"]) == 0
        said = capsys.readouterr().out
        assert "Would read 10 shards with 520 rows of 16 numbers, 16.6 kB, once." in said
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
    assert json.loads(capsys.readouterr().out)["n_files"] == 5
    assert not (tmp_path / "copies").exists()
    assert run(["measure", str(folder), "--dry-run"]) == 0
    assert "Would read 10 shards" in capsys.readouterr().out
    assert run([*fit, "--dry-run"]) == 2  # the file is there by now
    assert "must be a new name" in capsys.readouterr().err


def test_progress_tells_the_rate_of_a_worker() -> None:
    said: list[str] = []
    with_rate(lambda done, total, what: said.append(what), 1000, 2)(1, 2, "2 workers")
    assert said[0].startswith("2 workers, ")
    assert said[0].endswith(" rows/s each")


def test_a_file_of_progress_gets_a_line_now_and_then(monkeypatch, capsys) -> None:
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

"""Many rows: rates against a bare NumPy loop, more workers, engines, and peak memory.

All contestants read the same float16 .npy shards, in one run, each with one BLAS thread a process.
The bare loop does no more than the sums or the product take: read a block, make unit rows in
float32, multiply, and add up (fit) or write (apply). It checks and merges nothing.

Targets: 80 % of the rows per second of the bare loop; 1.7 times with two workers; Dask within 1.3
times of processes; and peak memory of a worker below 1 GB whatever the number of rows.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

import numpy as np

BLOCK = 8192
SIDES = ("img_emb", "text_emb")

PEAK = """
import resource, sys, time
from fillgap.aligners import make_aligner
from fillgap.distributed import ProcessPool, fit_shards
if __name__ == "__main__":
    start = time.perf_counter()
    with ProcessPool({workers}) as pool:
        fit_shards(make_aligner("{method}"), "{folder}", executor=pool)
    peaks = [resource.getrusage(who).ru_maxrss / 1024
             for who in (resource.RUSAGE_CHILDREN, resource.RUSAGE_SELF)]
    print(time.perf_counter() - start, *peaks)
"""


def write_shards(root: Path, rows: int, features: int, shard_rows: int) -> None:
    rng = np.random.default_rng(0)
    for side, offset in zip(SIDES, (0.1, -0.1), strict=True):
        (root / side).mkdir(parents=True)
        # Drawing 10⁷ rows anew takes minutes: one block is drawn, and its columns are turned.
        drawn = (rng.standard_normal((BLOCK, features), dtype=np.float32) + offset).astype("f2")
        for number, start in enumerate(range(0, rows, shard_rows)):
            count = min(shard_rows, rows - start)
            file = np.lib.format.open_memmap(
                root / side / f"{side}_{number:04}.npy", "w+", np.float16, (count, features)
            )
            for at in range(0, count, BLOCK):
                turned = np.roll(drawn, (start + at) // BLOCK, axis=1)
                file[at : at + BLOCK] = turned[: min(BLOCK, count - at)]
            del file


def unit_blocks(path: Path) -> tuple[np.ndarray, ...]:
    """Yield unit rows in float32, block by block."""
    with path.open("rb") as file:
        version = np.lib.format.read_magic(file)
        assert version == (1, 0)
        (rows, features), _, _ = np.lib.format.read_array_header_1_0(file)
        for start in range(0, rows, BLOCK):
            count = min(BLOCK, rows - start)
            block = np.fromfile(file, np.float16, count * features).reshape(count, features)
            block = block.astype(np.float32)
            block *= (1 / np.sqrt(np.vecdot(block, block)))[:, None]
            yield block


def bare_fit(root: Path) -> list[np.ndarray]:
    sums = []
    for side in SIDES:
        total: np.ndarray | float = 0.0
        for path in sorted((root / side).glob("*.npy")):
            for rows in unit_blocks(path):
                total = total + (rows.T @ rows).astype(np.float64)
        sums.append(total)
    return sums


def bare_apply(source: Path, target: Path, matrix: np.ndarray) -> None:
    """Write (rows · matrix) as unit rows in float16."""
    target.mkdir(exist_ok=True)
    for path in sorted(source.glob("*.npy")):
        shape = np.load(path, mmap_mode="r").shape
        with (target / path.name).open("wb") as file:
            header = {"descr": "<f2", "fortran_order": False, "shape": (shape[0], len(matrix.T))}
            np.lib.format.write_array_header_1_0(file, header)
            for rows in unit_blocks(path):
                out = rows @ matrix
                out *= (1 / np.sqrt(np.vecdot(out, out)))[:, None]
                file.write(out.astype(np.float16).data)


def rates(options: argparse.Namespace) -> None:
    """Print rows per second of every engine, and the ratios to the bare loop beside it.

    Only one engine is alive at a time: the processes of another that waits take time too.
    """
    from _timing import describe_machine, interleaved
    from fillgap.aligners import make_aligner, save_aligner
    from fillgap.distributed import apply_shards, fit_shards, make_executor

    print(f"{options.rows} × {options.features} float16 a side, {describe_machine()}")
    found: dict[str, dict[str, dict[str, float]]] = {"fit": {}, "apply": {}}
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        root = Path(folder)
        write_shards(root, options.rows, options.features, options.shard_rows)
        matrix = np.eye(options.features, dtype=np.float32)
        outputs, path = iter(range(10**6)), root / "aligner.safetensors"

        def fit(executor: object) -> object:
            aligner = make_aligner("balanced")
            fit_shards(aligner, root, executor=executor)
            return aligner

        def apply(executor: object) -> None:
            target = root / f"out{next(outputs)}"
            apply_shards(path, root / SIDES[0], target, modality="image", executor=executor)
            remove(target)

        def bare() -> None:
            target = root / f"out{next(outputs)}"
            bare_apply(root / SIDES[0], target, matrix)
            remove(target)

        for engine in options.engines:
            for workers in options.workers if engine == "processes" else [max(options.workers)]:
                with make_executor(engine, n_workers=workers) as executor:
                    save_aligner(fit(executor), path, overwrite=True)
                    for job, loop, run in (
                        ("fit", partial(bare_fit, root), fit),
                        ("apply", bare, apply),
                    ):
                        contestants = {"bare loop": loop, "engine": partial(run, executor)}
                        found[job][f"{engine}, {workers}"] = interleaved(
                            contestants, options.rounds
                        )
    for job, rows in (("fit", 2 * options.rows), ("apply", options.rows)):
        show(job, found[job], rows)


def show(job: str, seconds: dict[str, dict[str, float]], rows: int) -> None:
    ratios = {name: both["bare loop"] / both["engine"] for name, both in seconds.items()}
    one = ratios.get("processes, 1")
    print(f"\n{job:20} {'rows/s':>10}  bare loop beside it  ratio  of one worker")
    for name, both in seconds.items():
        alone = f"{ratios[name] / one:13.2f}" if one else ""
        print(
            f"{name:20} {rows / both['engine']:10,.0f}  {rows / both['bare loop']:19,.0f}  "
            f"{ratios[name]:5.2f}  {alone}"
        )


def remove(folder: Path) -> None:
    for path in sorted(folder.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    folder.rmdir()


def memory(options: argparse.Namespace) -> None:
    """Print the peak memory of a worker for more and more rows."""
    workers = max(options.workers)
    print(f"\nFits by {workers} workers, with their start:")
    print(
        f"{'rows of a side':>14}  {'seconds':>9}  {'rows/s':>10}  {'MiB of a worker':>16}  MiB here"
    )
    for rows in options.memory_rows:
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            write_shards(Path(folder), rows, options.features, options.shard_rows)
            script = Path(folder) / "peak.py"
            script.write_text(PEAK.format(workers=workers, method="balanced", folder=folder))
            done = subprocess.run(
                [sys.executable, str(script)], capture_output=True, text=True, check=True
            )
        seconds, worker, here = map(float, done.stdout.split())
        print(
            f"{rows:>14}  {seconds:9.1f}  {2 * rows / seconds:10,.0f}  {worker:16.0f}  {here:9.0f}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=200_000, help="of a side, for the rates")
    parser.add_argument("--features", type=int, default=512)
    parser.add_argument("--shard-rows", type=int, default=50_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--engines", nargs="*", default=["processes", "dask"])
    parser.add_argument("--memory-rows", type=int, nargs="*", default=[100_000, 400_000])
    parser.add_argument("--folder", help="where the shards for the peak memory are written")
    options = parser.parse_args()
    if options.engines:
        rates(options)
    memory(options)


if __name__ == "__main__":
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    if os.environ.get("OMP_NUM_THREADS") != "1":  # BLAS reads it when it is loaded
        os.environ["OMP_NUM_THREADS"] = "1"
        os.execv(sys.executable, [sys.executable, *sys.argv])
    main()

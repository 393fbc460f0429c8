"""Exact search of a mixed index against the bare product, calibrated against aligned, and memory.

One index of 1 million documents of 512 float32, half images and half texts, is asked for its 10
best at each stage. The bare product multiplies the same queries with one matrix of as many rows,
mapped from a file like those of the index, and does nothing with the scores. Rounds are
interleaved; the best of each counts against the bare product, because other programs may share the
cores, and the median of the ratios round by round against aligned. Raw is the same work as aligned
in another file: how far it is from 1 tells what such a ratio can tell.

Targets: search within 1.3 times the bare product; calibrated within 5 % of aligned; and the peak
memory of a build that does not grow with the rows, but for ids and the files that are mapped.

    python benchmarks/search.py [--rows 1000000] [--features 512] [--rounds 5] [--folder FOLDER]
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

import numpy as np

from _timing import by_round, describe_machine

BLOCK = 8192
BUILD = """
import resource, sys, time
from fillgap.search import index_files
start = time.perf_counter()
index_files(*sys.argv[1:4])
for line in open("/proc/self/status", encoding="ascii"):
    if line.startswith("RssAnon"):
        anonymous = int(line.split()[1]) / 1024
print(time.perf_counter() - start, anonymous,
      resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


def write_side(path: Path, rows: int, features: int, offset: float, seed: int) -> np.ndarray:
    """Write rows around an offset, and return some more of the same kind as queries."""
    rng = np.random.default_rng(seed)
    file = np.lib.format.open_memmap(path, "w+", np.float32, (rows, features))
    for start in range(0, rows, BLOCK):
        block = rng.standard_normal((min(BLOCK, rows - start), features), dtype=np.float32)
        file[start : start + BLOCK] = block + np.float32(offset)
    file.flush()
    return rng.standard_normal((256, features), dtype=np.float32) + np.float32(offset)


def build(folder: Path, rows: int, features: int) -> np.ndarray:
    """Build an index in a process of its own, print what it took, and return queries."""
    write_side(folder / "images.npy", rows // 2, features, 0.5, 0)
    queries = write_side(folder / "texts.npy", rows - rows // 2, features, -0.5, 1)
    words = [str(folder / name) for name in ("images.npy", "texts.npy", "index")]
    done = subprocess.run(
        [sys.executable, "-c", BUILD, *words], capture_output=True, text=True, check=True
    )
    seconds, anonymous, peak = map(float, done.stdout.split())
    print(
        f"built {rows:>9} documents in {seconds:6.1f} s, {rows / seconds:8,.0f} a second, "
        f"{anonymous:5.0f} MiB of its own at the end, peak {peak:6.0f} MiB with mapped files"
    )
    return queries


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--features", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 16, 256])
    parser.add_argument("--folder", help="where the index is written: 10 GB for a million rows")
    options = parser.parse_args()
    print(describe_machine())
    with tempfile.TemporaryDirectory(dir=options.folder) as small:
        build(Path(small), options.rows // 10, options.features)
    with tempfile.TemporaryDirectory(dir=options.folder) as place:
        folder = Path(place)
        queries = build(folder, options.rows, options.features)
        compare(folder, queries, options)


def compare(folder: Path, queries: np.ndarray, options: argparse.Namespace) -> None:
    """Print seconds of each stage, and the ratios to the bare product and to aligned."""
    from fillgap.search import open_index

    write_side(folder / "bare.npy", options.rows, options.features, 0.0, 2)
    bare = np.load(folder / "bare.npy", mmap_mode="r")
    with open_index(folder / "index") as index:
        for size in options.batches:
            asked = queries[:size]
            out = np.empty((size, len(bare)), np.float32)
            seconds = by_round(
                {"bare product": partial(np.matmul, asked, bare.T, out=out)}
                | {
                    stage: partial(
                        index.search_batch, texts=asked, k=10, stage=stage, check_side=False
                    )
                    for stage in index.stages
                },
                options.rounds,
            )
            print(f"\n{size} queries     seconds  of the bare product  of aligned")
            for name, values in seconds.items():
                ratio = min(values) / min(seconds["bare product"])
                pairs = np.divide(values, seconds["aligned"])
                print(f"{name:15}{min(values):9.4f}{ratio:21.2f}{np.median(pairs):12.3f}")


if __name__ == "__main__":
    main()

"""Peak memory of a fit from a file, for more and more rows: it must not grow with their number.

Each size is fitted in a process of its own, from float16 .npy files written beforehand.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

FIT = """
import resource, sys
from fillgap.aligners import make_aligner
from fillgap.io import open_sides
make_aligner("{method}").fit(*open_sides("{folder}/images.npy", "{folder}/texts.npy"))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


def write(folder: Path, rows: int, features: int) -> None:
    rng = np.random.default_rng(0)
    for name, offset in (("images", 0.1), ("texts", -0.1)):
        file = np.lib.format.open_memmap(
            folder / f"{name}.npy", mode="w+", dtype=np.float16, shape=(rows, features)
        )
        for start in range(0, rows, 50_000):
            part = file[start : start + 50_000]
            part[:] = rng.standard_normal(part.shape, dtype=np.float32) + offset
        file.flush()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--features", type=int, default=512)
    options = parser.parse_args()
    print(f"{'rows of a side':>15}  {'balanced':>10}  {'spectral':>10}   peak memory, MiB")
    for rows in options.rows:
        with tempfile.TemporaryDirectory() as folder:
            write(Path(folder), rows, options.features)
            peaks = [
                float(
                    subprocess.run(
                        [sys.executable, "-c", FIT.format(method=method, folder=folder)],
                        capture_output=True, text=True, check=True,
                    ).stdout
                )
                for method in ("balanced", "spectral")
            ]  # fmt: skip
        print(f"{rows:>15}  {peaks[0]:>10.0f}  {peaks[1]:>10.0f}")


if __name__ == "__main__":
    main()

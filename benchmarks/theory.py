"""Time one simulation of 64 dimensions, 1024 pairs and 2000 steps in every setting.

Run: python benchmarks/theory.py
"""

from __future__ import annotations

import os
import time

from fillgap.papers.theory import (
    Cone,
    ConePoints,
    Subspace,
    SubspacePoints,
    Unconstrained,
    simulate,
)

SETTINGS = (Unconstrained(), Cone(), ConePoints(), Subspace(), SubspacePoints())


def main() -> None:
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at the start")
    print(f"{'setting':16} {'precision':9} {'wall s':>7} {'CPU s':>7}  final loss")
    for setting in SETTINGS:
        for precision in ("float32", "float64"):
            wall, cpu = time.perf_counter(), time.process_time()
            found = simulate(
                setting, n_features=64, n_pairs=1024, n_steps=2000, precision=precision
            )
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
            name = type(setting).__name__
            print(f"{name:16} {precision:9} {wall:7.1f} {cpu:7.1f}  {found.trace.loss[-1]:.5f}")


if __name__ == "__main__":
    main()

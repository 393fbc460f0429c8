"""Fits of 100 000 + 100 000 × 512 float32 against the two bare Gram products, in one run.

The target: at most twice the time of Xᵀ X and Yᵀ Y.
"""

from __future__ import annotations

import argparse

import numpy as np

from _timing import describe_machine, interleaved
from fillgap.aligners import BalancedAligner, MeanCentering, SpectralAligner


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--features", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    shape = (options.rows, options.features)
    scales = 1 / np.sqrt(1 + np.arange(options.features, dtype=np.float32))
    X, Y = (rng.normal(size=shape).astype(np.float32) * scales + offset for offset in (0.3, 0.25))
    seconds = interleaved(
        {
            "two Gram products": lambda: (X.T @ X, Y.T @ Y),
            "balanced": lambda: BalancedAligner().fit(X, Y),
            "spectral": lambda: SpectralAligner(negative="shift").fit(X, Y),
            "mean-centering": lambda: MeanCentering().fit(X, Y),
        },
        options.rounds,
    )
    base = seconds.pop("two Gram products")
    print(f"{shape[0]} + {shape[0]} × {shape[1]} float32, {describe_machine()}")
    print(f"two Gram products    {base:7.3f} s")
    for name, value in seconds.items():
        print(f"{name:20} {value:7.3f} s   {value / base:5.2f} times")


if __name__ == "__main__":
    main()

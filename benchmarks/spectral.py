"""The closed form against eigendecompositions of the whole graph, at 2500 + 2500 × 512.

Against NumPy's dense eigh, and scikit-learn's SpectralEmbedding on the same affinity matrix: time,
peak memory above the inputs, and how far the cosines differ.
"""

from __future__ import annotations

import argparse
import time
import tracemalloc
import warnings
from collections.abc import Callable

import numpy as np

from _timing import describe_machine
from fillgap.aligners import SpectralAligner


def affinity(X: np.ndarray, Y: np.ndarray) -> np.ndarray:
    W = X @ Y.T
    n, m = W.shape
    return np.block([[np.zeros((n, n)), W], [W.T, np.zeros((m, m))]])


def units(X: np.ndarray) -> np.ndarray:
    return X / np.linalg.norm(X, axis=1, keepdims=True)


def closed_form(X: np.ndarray, Y: np.ndarray, k: int) -> np.ndarray:
    return np.vstack(SpectralAligner(n_components=k).fit(X, Y).transform_pair(X, Y))


def dense(X: np.ndarray, Y: np.ndarray, k: int) -> np.ndarray:
    A = affinity(X, Y)
    root = 1 / np.sqrt(A.sum(1))
    _, F = np.linalg.eigh(np.eye(len(A)) - root[:, None] * A * root)
    return units(root[:, None] * F[:, 1 : k + 1])


def scikit_learn(X: np.ndarray, Y: np.ndarray, k: int) -> np.ndarray:
    from sklearn.manifold import SpectralEmbedding

    model = SpectralEmbedding(n_components=k, affinity="precomputed", eigen_solver="arpack")
    return units(model.fit_transform(affinity(X, Y)))


def measured(
    run: Callable[[np.ndarray, np.ndarray, int], np.ndarray], *args: object
) -> tuple[np.ndarray, float, float]:
    tracemalloc.start()
    start = time.perf_counter()
    result = run(*args)  # type: ignore[arg-type]
    seconds = time.perf_counter() - start
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return result, seconds, peak / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=2500)
    parser.add_argument("--features", type=int, default=512)
    parser.add_argument("--components", type=int, default=60)
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    shape = (options.rows, options.features)
    meaning = rng.normal(size=shape) / np.sqrt(1 + np.arange(options.features))
    X, Y = (units(meaning + 0.3 * rng.normal(size=shape) / 20 + 0.2) for _ in range(2))
    closed_form(X[:600], Y[:600], options.components)  # warm up the libraries
    reference, base, memory = measured(closed_form, X, Y, options.components)
    print(f"{shape[0]} + {shape[0]} × {shape[1]}, {options.components} components")
    print(describe_machine())
    print(f"closed form              {base:8.2f} s  {memory:8.0f} MiB")
    for name, run in (("NumPy eigh of the graph", dense), ("SpectralEmbedding", scikit_learn)):
        found, seconds, memory = measured(run, X, Y, options.components)
        apart = abs(found @ found.T - reference @ reference.T).max()
        print(
            f"{name:24} {seconds:8.2f} s  {memory:8.0f} MiB  {seconds / base:7.1f} times as long, "
            f"largest difference of a cosine {apart:.1e}"
        )


if __name__ == "__main__":
    warnings.simplefilter("ignore", UserWarning)
    main()

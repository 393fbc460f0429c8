"""LaplaceTransport against POT's emd_laplace: time, peak memory and objective, in one run.

Both do the same number of iterations on the same unit rows, each in a process of its own, one after
the other. Rows resemble CLIP embeddings of COCO: mixtures of the real pairs plus noise where the
folder of real embeddings is there (FILLGAP_TEST_DATA), of Gaussian pairs otherwise. η grows with n,
so that the regularisers count alike at each size. At n = 5000 POT takes a quarter of an hour.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from _timing import describe_machine

FOLDER = Path(
    os.environ.get("FILLGAP_TEST_DATA", Path(__file__).resolve().parents[2] / "shared" / "data")
)
REAL = FOLDER / "coco_clip_vitb16_500" / "coco_clip_vitb16_500.npz"


def make_pairs(n: int, seed: int = 0) -> np.ndarray:
    """Return n pairs of unit rows, of shape (2, n, 512), float64."""
    rng = np.random.default_rng(seed)
    if REAL.is_file():
        with np.load(REAL, allow_pickle=False) as file:
            base = np.hstack([file["images"], file["texts"]]).astype(np.float64)
    else:
        meaning = rng.normal(size=(500, 512)) / np.sqrt(1 + np.arange(512))
        base = np.hstack([meaning + 0.1, meaning - 0.1])
    mean = base.mean(axis=0)
    centred = (base - mean) / np.sqrt(len(base))
    rows = np.sqrt(0.9) * rng.normal(size=(n, len(base))) @ centred + mean
    rows += np.sqrt(0.1 * np.mean(np.sum(centred**2, axis=0))) * rng.normal(size=rows.shape)
    sides = np.stack([rows[:, :512], rows[:, 512:]])
    return sides / np.linalg.norm(sides, axis=2, keepdims=True)


def run_ours(X: np.ndarray, Y: np.ndarray, eta: float, iterations: int) -> dict[str, Any]:
    from fillgap.aligners.transport.laplace import LaplaceTransport

    start, stamps = time.perf_counter(), []
    aligner = LaplaceTransport(eta=eta, tol=0.0, max_iter=iterations).fit(
        X, Y, progress=lambda *_: stamps.append(time.perf_counter() - start)
    )
    return {
        "seconds": time.perf_counter() - start,
        "stamps": stamps,
        "objective": aligner.objective_.tolist(),
        "gap": aligner.gap_,
    }


def run_pot(X: np.ndarray, Y: np.ndarray, eta: float, iterations: int) -> dict[str, Any]:
    import ot

    start = time.perf_counter()
    weights = np.full(len(X), 1 / len(X))
    _, log = ot.da.emd_laplace(
        weights, weights, X, Y, ot.dist(X, Y), eta=eta, alpha=0.5,
        numItermax=iterations, stopThr=0.0, stopInnerThr=0.0, log=True,
    )  # fmt: skip
    return {"seconds": time.perf_counter() - start, "objective": [float(f) for f in log["loss"]]}


RUNS = {"ours": run_ours, "POT": run_pot}


def child(name: str, path: str, eta: float, iterations: int) -> None:
    """Run one contestant, and print what it did as JSON."""
    warnings.simplefilter("ignore")
    X, Y = np.load(path)
    RUNS[name](X[:50].copy(), Y[:50].copy(), 1.0, 2)  # imports and first calls do not count
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    result = RUNS[name](X, Y, eta, iterations)
    result["kilobytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    print(json.dumps(result))


def in_child(name: str, path: Path, eta: float, iterations: int) -> dict[str, Any]:
    command = [sys.executable, __file__, "--child", name, str(path), str(eta), str(iterations)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def report(n: int, eta: float, ours: dict[str, Any], pot: dict[str, Any]) -> None:
    print(f"\nn = {n}, η = {eta:g}, {len(pot['objective']) - 1} iterations")
    for name, run in (("ours", ours), ("POT", pot)):
        memory = 1024 * run["kilobytes"] / n**2
        print(
            f"  {name:5} {run['seconds']:8.1f} s   peak {memory:6.1f} n² bytes"
            f"   objective {run['objective'][-1]:.9f}"
        )
    print(f"  {pot['seconds'] / ours['seconds']:.1f} times faster; gap left {ours['gap']:.1e}")
    reached = np.array(ours["objective"]) <= pot["objective"][-1]
    if reached.any():
        step = max(int(np.argmax(reached)), 1)
        # The best weights of a step are found before the next linear problem is solved.
        seconds = ours["stamps"][step] if step < len(ours["stamps"]) else ours["seconds"]
        print(
            f"  POT's objective reached after {step} iterations, {seconds:.1f} s: "
            f"{pot['seconds'] / seconds:.1f} times faster"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[500, 1000, 2500, 5000])
    parser.add_argument("--eta-share", type=float, default=0.2, help="η / n")
    parser.add_argument("--iterations", type=int, default=20)
    options = parser.parse_args()
    print(describe_machine())
    with tempfile.TemporaryDirectory() as folder:
        for n in options.sizes:
            path, eta = Path(folder) / f"{n}.npy", options.eta_share * n
            np.save(path, make_pairs(n))
            runs = [in_child(name, path, eta, options.iterations) for name in RUNS]
            report(n, eta, *runs)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(sys.argv[2], sys.argv[3], float(sys.argv[4]), int(sys.argv[5]))
    else:
        main()

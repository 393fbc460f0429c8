"""Run every main command on four data sets and keep what it says, as JSON.

python tests/goldens/record.py [NAME ...] writes NAME.json of this folder anew, or all of them.
The tests run the same commands and compare: a figure that changes is either a fault, or was wrong
before and is recorded anew with its reason in the commit.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

FOLDER = Path(__file__).parent
DATA = Path(os.environ.get("FILLGAP_TEST_DATA", FOLDER.parents[2] / "shared" / "data"))

#: By name, the file under DATA; None are the scenes that come with the package.
SETS = {
    "scenes": None,
    "coco-b16": "coco_clip_vitb16_500/coco_clip_vitb16_500.npz",
    "coco-rn50": "amumo/coco100__CLIP.npz",
    "diffusiondb": "amumo/diffusiondb100__CLIP.npz",
}

#: Words of an output that say where, when and how long, not what.
PASSING = frozenset({"out", "created", "seconds", "path", "cache", "index", "version"})
N_QUERIES, N_CORNER = 4, 6


def fillgap(*words: Any) -> Any:
    """Return the JSON that a command prints, computed by one thread."""
    one = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"), "1")
    command = [sys.executable, "-m", "fillgap", *map(str, words), "--json"]
    run = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | one)
    if run.returncode:
        raise RuntimeError(f"{' '.join(command)}: {run.stderr}")
    return json.loads(run.stdout)


def write_rows(name: str, folder: Path) -> list[Any]:
    """Write both sides of a data set, and return the words that name them."""
    if SETS[name] is None:
        from fillgap import load_digit_scenes

        pair = load_digit_scenes("evaluation")
        np.save(folder / "index.npy", pair.image_index)
        images, texts, more = pair.images, pair.texts, ["--image-index", folder / "index.npy"]
    else:
        with np.load(DATA / SETS[name]) as arrays:
            images, texts, more = arrays["images"], arrays["texts"], []
    np.save(folder / "images.npy", images)
    np.save(folder / "texts.npy", texts)
    return [folder / "images.npy", folder / "texts.npy", *more]


def results_of(name: str, folder: Path) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Yield each result by name, as a function that computes it."""
    words = write_rows(name, folder)
    sides = words[:2]
    yield "measure", lambda: fillgap("measure", *words)
    yield "compare", lambda: fillgap("compare", *words, "--splits", 2)
    yield "recommend", lambda: fillgap("recommend", *words, "--splits", 2)
    yield "sweep-gap", lambda: fillgap("sweep-gap", *words, "--splits", 2)
    yield "decipher", lambda: fillgap("reproduce", "decipher", *words)
    yield "fit and apply", lambda: dict(aligned_rows(words, folder))
    yield "index and search", lambda: hits(sides, folder)
    if name != "diffusiondb":
        n = 100 if name == "coco-rn50" else 500
        few = "--pairs", n // 2, "--transport", n // 2, "--workers", 1
        folders = "--data", papers_folder(name, sides, folder), "--cache", folder / "cache"
        yield "fill-the-gap", lambda: fillgap("reproduce", "fill-the-gap", *folders, *few)


def papers_folder(name: str, sides: list[Path], folder: Path) -> Path:
    """Return a folder of one data set and model, one caption an image."""
    images, texts = (np.load(side) for side in sides)
    (folder / "papers" / name).mkdir(parents=True)
    np.savez(folder / "papers" / name / "pairs.npz", images=images,
             texts=texts[:: len(texts) // len(images)])  # fmt: skip
    return folder / "papers"


def aligned_rows(words: list[Any], folder: Path) -> Iterator[tuple[str, Any]]:
    """Yield, for each method, cosines between the first rows of both sides once aligned.

    Cosines, since the sign and order of axes are no part of what a method promises.
    """
    from fillgap.aligners import METHODS

    corner = folder / "corner"
    corner.mkdir()
    for side in ("images", "texts"):
        np.save(corner / f"{side}.npy", np.load(folder / f"{side}.npy")[:N_CORNER])
    for method in METHODS:
        aligner = folder / f"{method}.safetensors"
        given = words if METHODS[method].needs_pairs else words[:2]
        try:
            fillgap("fit", method, *given, "-o", aligner)
        except RuntimeError as error:
            yield method, str(error).rpartition("fillgap: ")[2].strip()
            continue
        rows = []
        for side in ("images", "texts"):
            target = folder / f"{method}-{side}.npy"
            modality = side.removesuffix("s")
            source = corner / f"{side}.npy"
            fillgap("apply", aligner, source, "--modality", modality, "-o", target)
            rows.append(np.load(target).astype(np.float64))
        units = np.vstack(rows)
        units /= np.maximum(np.linalg.norm(units, axis=1, keepdims=True), 1e-300)
        yield method, (units @ units.T)[np.triu_indices(len(units), 1)].tolist()


def hits(sides: list[Path], folder: Path) -> dict[str, Any]:
    """Return what the first rows of each side find in an index of all, at every stage."""
    fillgap("index", *sides, "-o", folder / "index")
    found = {}
    for side in ("images", "texts"):
        for i in range(N_QUERIES):
            query = folder / "query.npy"
            np.save(query, np.load(folder / f"{side}.npy")[i])
            for stage in ("raw", "aligned", "calibrated"):
                words = "--vector", query, "--vector-modality", side.removesuffix("s")
                said = fillgap("search", folder / "index", *words, "--stage", stage)
                found[f"{side} {i} {stage}"] = said
    return found


def differences(kept: Any, now: Any, tolerance: float, at: str = "") -> Iterator[str]:
    """Yield each place where two results differ: numbers by more than the tolerance, relatively."""
    if isinstance(kept, dict) and isinstance(now, dict):
        for key in kept.keys() ^ now.keys():
            yield f"{at}/{key}: only {'before' if key in kept else 'now'}"
        for key in kept.keys() & now.keys():
            yield from differences(kept[key], now[key], tolerance, f"{at}/{key}")
    elif isinstance(kept, list) and isinstance(now, list) and len(kept) == len(now):
        for i, (one, other) in enumerate(zip(kept, now, strict=True)):
            yield from differences(one, other, tolerance, f"{at}/{i}")
    elif isinstance(kept, float) and isinstance(now, (int, float)):
        if not math.isclose(kept, now, rel_tol=tolerance, abs_tol=tolerance) and kept == kept:
            yield f"{at}: {kept!r} before, {now!r} now"
    elif kept != now:
        yield f"{at}: {kept!r} before, {now!r} now"


def without_passing(value: Any) -> Any:
    """Return a result without what differs from run to run."""
    if isinstance(value, dict):
        return {k: without_passing(v) for k, v in value.items() if k not in PASSING}
    return [without_passing(v) for v in value] if isinstance(value, list) else value


def kernel() -> str:
    """Name what multiplies matrices here: rounding is the same only on the same one."""
    from threadpoolctl import threadpool_info

    return " ".join(sorted({str(lib.get("architecture")) for lib in threadpool_info()}))


def main(names: list[str]) -> None:
    """Record some data sets anew, or all."""
    for name in names or SETS:
        with tempfile.TemporaryDirectory() as folder:
            kept = {key: without_passing(run()) for key, run in results_of(name, Path(folder))}
        text = json.dumps({"kernel": kernel(), "results": kept}, indent=0, sort_keys=True)
        (FOLDER / f"{name}.json").write_text(text + "\n")
        print(name)


if __name__ == "__main__":
    main(sys.argv[1:])

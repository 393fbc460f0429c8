"""What the main commands said before, they say again: figures that change do so on purpose."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

GOLDENS = Path(__file__).parents[1] / "goldens"
sys.path.insert(0, str(GOLDENS))
import record  # noqa: E402

RESULTS = (
    "measure", "compare", "recommend", "sweep-gap", "decipher", "fit and apply",
    "index and search", "fill-the-gap",
)  # fmt: skip
#: What every run of the suite repeats; the rest takes minutes.
QUICK = {("coco-rn50", result) for result in ("recommend", "index and search", "decipher")}
QUICK |= {(name, "measure") for name in record.SETS}


@pytest.mark.parametrize(
    ("name", "result"),
    [
        pytest.param(name, result, marks=[] if (name, result) in QUICK else [pytest.mark.hard])
        for name in record.SETS
        for result in RESULTS
        if (name, result) != ("diffusiondb", "fill-the-gap")
    ],
)
def test_commands_say_what_they_said(
    name: str, result: str, tmp_path: Path, real_data: Path
) -> None:
    os.environ.setdefault("FILLGAP_TEST_DATA", str(real_data))
    golden = json.loads((GOLDENS / f"{name}.json").read_text())
    run = dict(record.results_of(name, tmp_path))[result]
    tolerance = 1e-6
    if result == "measure" and golden["kernel"] == record.kernel():
        tolerance = 1e-9
    found = list(
        record.differences(golden["results"][result], record.without_passing(run()), tolerance)
    )
    assert not found, "\n".join(found[:20])

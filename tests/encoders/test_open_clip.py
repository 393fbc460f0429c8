"""open_clip, in a process of its own: the other libraries must not find its torchvision."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PLACE = Path(os.environ.get("FILLGAP_TEST_OPEN_CLIP", ROOT / ".venv" / "open-clip"))


@pytest.fixture(scope="module")
def place() -> Path:
    """The folder that make test installs open_clip into; skip without it, but fail in CI."""
    if not (PLACE / "open_clip").is_dir():
        reason = f"no open_clip in {PLACE}: make test installs it"
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
    return PLACE


def test_rows_are_those_of_the_library(place: Path, tmp_path: Path) -> None:
    folder = tmp_path / "tiny"
    folder.mkdir()
    done = subprocess.run(
        [sys.executable, str(ROOT / "tests" / "open_clip_rows.py"), str(folder)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(place)])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout)
    assert (found["name"], found["revision"]) == ("tiny", True)
    assert found["shapes"] == [[5, 12], [3, 12]]
    assert max(found["differences"]) < 1e-5
    assert found["spread"] > 1e-2


@pytest.mark.parametrize("missing", ["open_clip_config.json", "open_clip_model.safetensors"])
def test_a_model_that_lacks_a_file_is_refused(place: Path, tmp_path: Path, missing: str) -> None:
    for name in {"open_clip_config.json", "open_clip_model.safetensors"} - {missing}:
        (tmp_path / name).write_text("{}")
    words = ["embed", "digit-scenes", f"open-clip:{tmp_path}", "-o", str(tmp_path / "out")]
    done = subprocess.run(
        [sys.executable, "-m", "fillgap", *words],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(place)])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert f"must hold {missing}, got no such file" in done.stderr
    assert "Traceback" not in done.stderr

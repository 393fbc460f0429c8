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
FILES = ["open_clip_config.json", "open_clip_model.safetensors"]


def python(*words: str | Path) -> subprocess.CompletedProcess[str]:
    """Run it with open_clip from the folder that make test installs; skip without, fail in CI."""
    if not (PLACE / "open_clip").is_dir():
        reason = f"no open_clip in {PLACE}: make test installs it"
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
    return subprocess.run(
        [sys.executable, *words],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(PLACE)])},
        capture_output=True,
        text=True,
        check=False,
    )


def test_rows_are_those_of_the_library(tmp_path: Path) -> None:
    (tmp_path / "tiny").mkdir()
    done = python(ROOT / "tests" / "helpers" / "open_clip_rows.py", tmp_path / "tiny")
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout)
    assert (found["name"], found["revision"]) == ("tiny", True)
    assert found["shapes"] == [[5, 12], [3, 12]]
    assert max(found["differences"]) < 1e-5
    assert found["spread"] > 1e-2


@pytest.mark.parametrize("missing", FILES)
def test_a_model_that_lacks_a_file_is_refused(tmp_path: Path, missing: str) -> None:
    for name in {*FILES} - {missing}:
        (tmp_path / name).write_text("{}")
    words = ["embed", "digit-scenes", f"open-clip:{tmp_path}", "-o", tmp_path / "out"]
    done = python("-m", "fillgap", *words)
    assert done.returncode == 2
    assert f"must hold {missing}, got no such file" in done.stderr
    assert "Traceback" not in done.stderr

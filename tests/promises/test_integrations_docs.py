"""Every program and every command of the page on integrations is run, in the order of the page."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from export_spaces import needed
from fillgap.cli.app import run

PAGE = Path(__file__).resolve().parents[2] / "docs" / "integrations.md"
LIBRARIES = ("onnx", "torch", "llama_index.core", "haystack")


@pytest.mark.filterwarnings("ignore")
def test_the_page_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for library in LIBRARIES:
        needed(library)
    monkeypatch.chdir(tmp_path)
    text = PAGE.read_text(encoding="utf-8")
    found = re.findall(r"^```(python|console)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    names: dict[str, object] = {}
    commands = 0
    for language, block in found:
        if language == "python":
            exec(compile(block, PAGE.name, "exec"), names)
            continue
        words = block.removeprefix("$ fillgap ").split()
        if "--model" in words:  # tested with a model of its own in the tests of that export
            continue
        assert run(words) == 0, capsys.readouterr().err
        commands += 1
    assert commands == 2
    assert len(found) - commands > 9

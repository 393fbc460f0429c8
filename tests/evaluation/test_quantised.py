"""What storing aligned rows in fewer bits costs, judged on held-out rows."""

from __future__ import annotations

import json

import numpy as np
import pytest
from test_evaluation_parts import captioned

from fillgap.cli.app import run
from fillgap.errors import InputError
from fillgap.evaluation import compare
from fillgap.evaluation.compare import Collected
from fillgap.evaluation.quantised import QUANTISED, as_stored
from fillgap.pair import EmbeddingPair

QUICK = {"n_splits": 2, "n_resamples": 200}


@pytest.mark.parametrize("kind", QUANTISED)
def test_rows_are_read_back_as_they_were_stored(kind: str) -> None:
    pair = captioned(40, 2)
    stored = as_stored(pair, kind)
    for rows, before in ((stored.images, pair.images), (stored.texts, pair.texts)):
        units = before / np.linalg.norm(before, axis=1, keepdims=True)
        step = 2.0**-11 if kind == "float16" else np.abs(units).max() / 127
        assert 0 < np.abs(rows - units).max() <= 0.51 * step
        values = np.unique(rows[0] if kind == "int8" else rows[:, 0])
        if kind != "float16":  # multiples of one scale
            scale = np.abs(rows[0] if kind == "int8" else rows[:, 0]).max() / 127
            np.testing.assert_allclose(values / scale, np.rint(values / scale), atol=1e-3)
    assert stored.image_index is not None


def test_a_comparison_says_what_storing_changes() -> None:
    pair = captioned(120, 2)
    found = compare(pair, ["balanced"], quantise=["int8", "float16"], **QUICK)
    plain = compare(pair, ["balanced"], **QUICK)
    assert plain.quantised == {}
    assert found.results["balanced"].estimates == plain.results["balanced"].estimates
    assert list(found.quantised) == ["int8", "float16"]
    for methods in found.quantised.values():
        assert list(methods) == ["raw", "balanced"]
        for changes in methods.values():
            assert abs(changes["recall_at_1"]["mean"].value) < 0.1
    assert found.quantised["int8"]["balanced"] != found.quantised["float16"]["balanced"]


def test_a_change_is_that_of_the_same_method(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows of which nothing is left lose what the method had."""
    monkeypatch.setitem(
        QUANTISED,  # type: ignore[arg-type]
        "int8",
        lambda rows: np.random.default_rng(0).normal(size=rows.shape).astype("f4"),
    )
    found = compare(captioned(120, 2), ["balanced"], quantise=["int8"], **QUICK)
    for name, changes in found.quantised["int8"].items():
        before = found.results[name].estimates["recall_at_1"]["mean"].value
        lost = changes["recall_at_1"]["mean"]
        assert lost.high < 0
        assert lost.value == pytest.approx(-before, abs=0.1)


def test_clusters_are_not_looked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Collected] = []
    real = Collected.__init__
    monkeypatch.setattr(Collected, "__init__", lambda self: (seen.append(self), real(self))[1])
    compare(captioned(60, 2), ["mean-centering"], quantise=["int8"], **QUICK)
    assert [bool(one.scalars) for one in seen] == [True, True, False, False]


def test_the_command_line_prints_changes(tmp_path, capsys) -> None:
    pair: EmbeddingPair = captioned(60, 2)
    for name in ("images", "texts", "image_index"):
        np.save(tmp_path / f"{name}.npy", getattr(pair, name))
    words = ["compare", *(str(tmp_path / f"{name}.npy") for name in ("images", "texts"))]
    words += ["--image-index", str(tmp_path / "image_index.npy"), "-m", "mean-centering"]
    words += ["--splits", "1", "--quantise"]
    assert run([*words, "int8"]) == 0
    assert "Stored in int8, of both sides" in capsys.readouterr().out
    assert run([*words, "float16", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)["quantised"]["float16"]["mean-centering"]
    assert set(printed["recall_at_1"]["mean"]) == {"value", "low", "high"}
    assert run([*words, "int4"]) == 2
    assert "quantise must be one of 'float16', 'int8', 'int8-dimension'" in capsys.readouterr().err
    with pytest.raises(InputError, match="must be one of"):
        compare(pair, ["balanced"], quantise=["int4"])

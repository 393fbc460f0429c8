"""An aligner's file: what goes in comes out, equal fits give equal bytes, bad files are refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.numpy import save_file
from sklearn.exceptions import NotFittedError

from aligner_table import ROWS, Row
from fillgap.aligners import (
    METHODS,
    BalancedAligner,
    MeanCentering,
    load_aligner,
    make_aligner,
    save_aligner,
)
from fillgap.aligners.methods import Provenance
from fillgap.errors import InputError
from fillgap.files import write_artifact

Pair = tuple[np.ndarray, np.ndarray]


def test_the_table_is_tested_and_its_names_are_the_classes_in_kebab_case() -> None:
    assert {type(row.make()) for row in ROWS} >= set(METHODS.values())
    for name, cls in METHODS.items():
        assert cls.__name__.lower().removesuffix("aligner") == name.replace("-", "")


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_a_loaded_aligner_gives_the_same_bits(row: Row, gapped: Pair, tmp_path: Path) -> None:
    aligner = row.make().fit(*gapped)
    path = save_aligner(aligner, tmp_path / "a.safetensors")
    loaded = load_aligner(path)
    for got, expected in zip(
        loaded.transform_pair(*gapped), aligner.transform_pair(*gapped), strict=True
    ):
        assert np.array_equal(got, expected)
    assert type(loaded) is type(aligner)
    for name in (*aligner.extra_arrays, "mean_x_", "n_samples_", "notes_"):
        assert np.array_equal(getattr(loaded, name), getattr(aligner, name))
    again = save_aligner(row.make().fit(*gapped), tmp_path / "b.safetensors")
    assert again.read_bytes() == path.read_bytes()


def test_the_header_tells_where_it_comes_from(gapped: Pair, tmp_path: Path) -> None:
    provenance = Provenance(model="clip", data_hash="abc", created="2026-01-31", evidence={"n": 1})
    path = save_aligner(BalancedAligner().fit(*gapped), tmp_path / "a", provenance=provenance)
    with safe_open(path, framework="numpy") as file:
        header = json.loads(file.metadata()["fillgap"])
    assert header == load_aligner(path).metadata_
    parameters = {"n_components": "auto", "normalize": True, "power": 0.5, "ridge": 0.5}
    expected = {"kind": "aligner", "format_version": 1, "method": "balanced", "n_features": 24}
    expected |= {"parameters": parameters, "n_samples": [300, 300], "notes": []}
    expected |= {key: value for key, value in vars(provenance).items() if value}
    assert header == expected


def test_unknown_methods_and_parameters_are_refused() -> None:
    with pytest.raises(InputError, match="got 'ballanced'. Did you mean balanced?"):
        make_aligner("ballanced")
    with pytest.raises(InputError, match="a parameter of spectral must be one of .* got 'k'"):
        make_aligner("spectral", k=3)
    assert make_aligner("spectral", n_components=3).get_params()["n_components"] == 3


ROWS_OF_NOTHING = {"w": np.zeros(3)}
NEWER = {"fillgap": json.dumps({"kind": "aligner", "format_version": 99})}


@pytest.mark.parametrize(
    ("write", "sentence"),
    [
        (lambda path: None, "must be a file or folder that exists"),
        (lambda path: path.write_text("hello"), "must be a whole safetensors file"),
        (lambda path: save_file(ROWS_OF_NOTHING, path), "must be a file written by fillgap"),
        (
            lambda path: write_artifact(path, "calibration", ROWS_OF_NOTHING, {}),
            "must hold a fitted aligner, got a fitted calibration",
        ),
        (
            lambda path: save_file(ROWS_OF_NOTHING, path, metadata=NEWER),
            "format version 1 or older, got 99. Upgrade fillgap",
        ),
    ],
)
def test_what_is_no_aligner_is_refused(
    write: Callable[[Path], object], sentence: str, tmp_path: Path
) -> None:
    write(tmp_path / "a")
    with pytest.raises(InputError, match=sentence):
        load_aligner(tmp_path / "a")


def test_nothing_is_written_over_or_half(gapped: Pair, tmp_path: Path) -> None:
    with pytest.raises(NotFittedError, match="must be fitted before it is saved"):
        save_aligner(MeanCentering(), tmp_path / "a")
    assert not list(tmp_path.iterdir())
    path = tmp_path / "a"
    path.write_text("precious")
    aligner = MeanCentering().fit(*gapped)
    with pytest.raises(InputError, match="must be a new name"):
        save_aligner(aligner, path)
    assert path.read_text() == "precious"
    save_aligner(aligner, path, overwrite=True)
    loaded = load_aligner(path)
    with pytest.raises(InputError, match="must be fitted in this process to go on"):
        loaded.partial_fit(*gapped)  # type: ignore[attr-defined]


@pytest.mark.parametrize("change", ["method", "parameters", "n_features", "n_samples", "notes"])
def test_a_header_that_lacks_something(change: str, gapped: Pair, tmp_path: Path) -> None:
    save_aligner(BalancedAligner().fit(*gapped), tmp_path / "a")
    metadata = load_aligner(tmp_path / "a").metadata_
    del metadata[change]
    with safe_open(tmp_path / "a", framework="numpy") as file:
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    write_artifact(tmp_path / "b", "aligner", arrays, metadata)
    with pytest.raises(InputError, match=f"must be a whole aligner, .*{change}"):
        load_aligner(tmp_path / "b")


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200, deadline=None
)
@given(data=st.data())
def test_damage_is_refused_or_harmless(data: st.DataObject, tmp_path: Path, gapped: Pair) -> None:
    whole = tmp_path / "whole"
    if not whole.exists():
        save_aligner(BalancedAligner(n_components=2).fit(*gapped), whole)
    content = bytearray(whole.read_bytes())
    if data.draw(st.booleans(), "truncate"):
        content = content[: data.draw(st.integers(0, len(content) - 1), "length")]
    else:
        place = data.draw(st.integers(0, 2000), "place")
        content[place] = data.draw(st.integers(0, 255), "byte")
    damaged = tmp_path / "damaged"
    damaged.write_bytes(content)
    try:
        load_aligner(damaged)
    except InputError as error:
        assert str(damaged) in str(error) or "must be" in str(error)

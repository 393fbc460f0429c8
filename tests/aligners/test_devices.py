"""--device: the same results in PyTorch as in NumPy, on every device that is here."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from devices import on_each, strict, torch  # noqa: F401
from fillgap.aligners import METHODS, load_aligner, make_aligner
from fillgap.cli.app import run
from fillgap.errors import InputError
from fillgap.evaluation import compare
from fillgap.io import load_rows, open_rows, open_sides
from fillgap.papers.theory import simulate
from fillgap.papers.theory.settings import Cone, Unconstrained
from fillgap.runtime import OnDevice, choose_device, pair_on_device, to_host
from reference import unit
from worlds import captioned, make_gapped

N, D = 300, 10


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    root = tmp_path_factory.mktemp("device")
    for name, rows in zip(("images", "texts"), make_gapped(N, D, seed=7), strict=True):
        np.save(root / f"{name}.npy", (rows + 1).astype("f4"))
    return str(root / "images.npy"), str(root / "texts.npy")


@on_each
@pytest.mark.parametrize("method", METHODS)
def test_every_method_is_fitted_as_in_numpy(
    method: str, device: str, files: tuple[str, str], tmp_path: Path, capsys
) -> None:
    if method == "refined" and device != "cpu":
        pytest.skip("its descent rounds in another way")
    wide = make_aligner(method).get_params().get("n_components") == 60
    options = ["--set", "n_components=5"] if wide else []
    codes = [
        run(["fit", method, *files, "-o", str(tmp_path / name), *options, *where])
        for name, where in (("here", []), ("there", ["--device", device]))
    ]
    assert codes[0] == codes[1]
    if codes[0] == 2:
        pytest.skip(capsys.readouterr().err)
    here, there = (load_aligner(tmp_path / name) for name in ("here", "there"))
    rows = load_rows(files[0])
    np.testing.assert_allclose(there.transform(rows), here.transform(rows), atol=1e-5)
    assert there.metadata_["data_hash"] == here.metadata_["data_hash"]


@on_each
def test_measures_are_those_of_numpy(device: str, files: tuple[str, str], capsys) -> None:
    printed = []
    for options in ([], ["--device", device]):
        assert run(["measure", *files, "--json", *options]) == 0
        printed.append(json.loads(capsys.readouterr().out))
    values = [
        {
            (name, part): np.float64(value["value"])  # NaN where there is none
            for name, parts in report["measures"].items()
            for part, value in parts.items()
        }
        for report in printed
    ]
    assert values[1] == pytest.approx(values[0], abs=1e-5, rel=1e-5, nan_ok=True)
    assert printed[0]["verdict"] == printed[1]["verdict"]


@on_each
def test_a_comparison_is_that_of_numpy(device: str) -> None:
    pair = captioned(60, 2)
    options = {"n_splits": 1, "n_resamples": 200}
    here, there = (
        compare(side, ["balanced", "cca"], **options)
        for side in (pair, pair_on_device(pair, choose_device(device)))
    )
    values = [
        {
            (name, measure, direction): item.value
            for name, result in found.results.items()
            for measure, directions in result.estimates.items()
            for direction, item in directions.items()
        }
        for found in (here, there)
    ]
    assert values[1] == pytest.approx(values[0], abs=1e-5)
    assert here.recommendation == there.recommendation


@on_each
def test_copies_are_those_of_numpy(device: str, files: tuple[str, str], tmp_path: Path) -> None:
    assert run(["fit", "balanced", *files, "-o", str(tmp_path / "a.fit")]) == 0
    apply = ["apply", str(tmp_path / "a.fit"), files[1], "--modality", "text"]
    assert run([*apply, "-o", str(tmp_path / "here.npy")]) == 0
    assert run([*apply, "-o", str(tmp_path / "there.npy"), "--device", device]) == 0
    here, there = (load_rows(tmp_path / f"{name}.npy") for name in ("here", "there"))
    np.testing.assert_allclose(there, here, atol=1e-5)


@on_each
def test_long_streams_are_summed_in_float64(device: str, tmp_path: Path) -> None:
    """Blocks are multiplied in float32 where they lie, and their sums lose no digits."""
    rng = np.random.default_rng(0)
    for name, shift in (("images", 3.0), ("texts", -3.0)):  # mean far above the deviation
        rows = rng.normal(size=(40_000, 8)) * 0.05 + shift
        np.save(tmp_path / f"{name}.npy", rows.astype("f2"))
    sides = open_sides(tmp_path / "images.npy", tmp_path / "texts.npy")
    place = choose_device(device)
    exact = [unit(load_rows(tmp_path / f"{name}.npy")) for name in ("images", "texts")]
    for rows_of in (sides, [OnDevice(side, place) for side in sides]):
        moments = make_aligner("whitening").fit(*rows_of).moments_
        for side, rows in zip((moments.x, moments.y), exact, strict=True):
            assert side.scatter.dtype == np.float64
            cov = np.cov(rows.T, bias=True)
            np.testing.assert_allclose(side.covariance(ddof=0), cov, atol=1e-5 * cov.max())


@on_each
@pytest.mark.parametrize("setting", [Unconstrained(), Cone(np.pi / 3)], ids=["free", "cone"])
def test_the_simulator_takes_the_course_of_numpy(device: str, setting) -> None:
    options = {"n_features": 6, "n_pairs": 40, "n_steps": 20, "tau": 0.2}
    precision = "float32" if device == "mps" else "float64"
    here = simulate(setting, **options, precision=precision)
    there = simulate(setting, **options, precision=precision, device=device)
    np.testing.assert_allclose(there.X, here.X, atol=1e-5)
    np.testing.assert_allclose(there.trace.loss, here.trace.loss, atol=1e-5)


@on_each
def test_blocks_are_tensors_of_the_device(device: str, files: tuple[str, str]) -> None:
    place = choose_device(device)
    source = OnDevice(open_rows(files[0]), place)
    blocks = list(source.iter_blocks(128))
    assert [tuple(block.shape) for block in blocks] == [(128, D), (128, D), (44, D)]
    assert all(block.device.type == place.type for block in blocks)
    np.testing.assert_array_equal(
        np.concatenate([to_host(block) for block in blocks]), load_rows(files[0])
    )


def test_a_device_that_is_not_there_is_refused(files: tuple[str, str], tmp_path: Path, capsys):
    absent = "cuda:99" if torch.cuda.is_available() else "cuda"
    for command in (
        ["measure", *files],
        ["compare", *files],
        ["fit", "balanced", *files, "-o", str(tmp_path / "a.fit")],
    ):
        for device in (absent, "nonsense"):
            assert run([*command, "--device", device]) == 2
            error = capsys.readouterr().err
            assert f"device must be one that PyTorch can use here, got '{device}'" in error
            assert error.count("\n") == 1
    assert not (tmp_path / "a.fit").exists()
    with pytest.raises(InputError, match="device must be"):
        simulate(Unconstrained(), n_features=4, n_pairs=5, n_steps=1, device="nonsense")

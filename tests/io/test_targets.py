"""Where copies may be written, and that they appear whole or not at all."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fillgap.errors import InputError, InputTypeError
from fillgap.io import load_rows, transform_files
from fillgap.pair import BLOCK_ROWS
from io_formats import FORMATS, SINGLE, Format, make_rows

EVERY = pytest.mark.parametrize("case", FORMATS.values(), ids=FORMATS.keys())


def negated(block: np.ndarray, first_row: int) -> np.ndarray:
    return -block


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_folder_is_replaced_only_on_request_and_never_mixed(tmp_path: Path) -> None:
    for folder in ("in", "out"):
        (tmp_path / folder).mkdir()
    sources = [tmp_path / "in" / name for name in ("a.npy", "b.npy")]
    for source in sources:
        np.save(source, np.ones((2, 3)))
    out = tmp_path / "out"
    with pytest.raises(InputError, match="must be a new name"):
        transform_files(sources, out, negated)
    np.save(out / "c.npy", np.ones((2, 3)))
    with pytest.raises(InputError, match=r"must hold no shards but those written now, got c\.npy"):
        transform_files(sources, out, negated, overwrite=True)
    (out / "c.npy").rename(out / "a.npy")
    (out / "notes.md").touch()
    transform_files(sources, out, negated, overwrite=True)
    assert names(out) == ["a.npy", "b.npy", "notes.md"]
    np.testing.assert_array_equal(load_rows(out), -np.ones((4, 3)))


def test_files_of_one_name_do_not_fit_into_one_folder(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        np.save(tmp_path / folder / "x.npy", np.ones((2, 3)))
    with pytest.raises(InputError, match=r"got x\.npy twice"):
        transform_files(
            [tmp_path / "a" / "x.npy", tmp_path / "b" / "x.npy"], tmp_path / "out", negated
        )
    assert names(tmp_path) == ["a", "b"]


@pytest.mark.parametrize("how", ["itself", "relative", "symlink", "hardlink", "folder", "pattern"])
def test_the_input_is_never_the_target(
    tmp_path: Path, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("in").mkdir()
    np.save("in/a.npy", np.ones((2, 3)))
    source, target = "in/a.npy", "b.npy"
    if how == "itself":
        target = source
    elif how == "relative":
        target = "in/../in/a.npy"
    elif how == "symlink":
        Path(target).symlink_to(source)
    elif how == "hardlink":
        Path(target).hardlink_to(source)
    else:
        source, target = ("in" if how == "folder" else "in/*.npy"), "in"
    with pytest.raises(InputError, match="must be another file than the input"):
        transform_files(source, target, negated, overwrite=True)
    np.testing.assert_array_equal(np.load("in/a.npy"), np.ones((2, 3)))


def test_a_link_in_the_folder_to_an_input(tmp_path: Path) -> None:
    for folder in ("in", "out"):
        (tmp_path / folder).mkdir()
    np.save(tmp_path / "in" / "a.npy", np.ones((2, 3)))
    (tmp_path / "out" / "a.npy").symlink_to(tmp_path / "in" / "a.npy")
    with pytest.raises(InputError, match="must be another file than the input"):
        transform_files(tmp_path / "in", tmp_path / "out", negated, overwrite=True)


@EVERY
def test_an_existing_target_needs_permission(case: Format, tmp_path: Path) -> None:
    old, new = tmp_path / f"old{case.suffix}", tmp_path / f"new{case.suffix}"
    case.write(old, "emb", make_rows(4, 3, SINGLE))
    new.write_bytes(b"precious")
    with pytest.raises(InputError, match="must be a new name, got one that exists"):
        transform_files(case.spec(old), new, negated)
    assert new.read_bytes() == b"precious"
    transform_files(case.spec(old), new, negated, overwrite=True)
    assert load_rows(case.spec(new)).shape == (4, 3)


def test_targets_of_the_wrong_kind(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.ones((2, 3)))
    np.save(tmp_path / "b.npy", np.ones((2, 3)))
    (tmp_path / "out").mkdir()
    both = [tmp_path / "a.npy", tmp_path / "b.npy"]
    for source, target, message in (
        (both[0], "c.npz", r"must end in \.npy as its source does, got '\.npz'"),
        (both[0], "out", "must be a file, got a folder"),
        (both[0], "no/c.npy", "must be in a folder that exists"),
        ([], "out", "must be at least one path, got none"),
    ):
        with pytest.raises(InputError, match=message):
            transform_files(source, tmp_path / target, negated, overwrite=True)
    (tmp_path / "c").touch()
    with pytest.raises(InputError, match="must be a folder for several files, got a file"):
        transform_files(both, tmp_path / "c", negated, overwrite=True)


@EVERY
@pytest.mark.parametrize("error", [InputError, RuntimeError, KeyboardInterrupt, MemoryError])
def test_a_failure_leaves_nothing_and_the_old_file(
    case: Format, tmp_path: Path, error: type[BaseException]
) -> None:
    old, new = tmp_path / f"old{case.suffix}", tmp_path / f"new{case.suffix}"
    case.write(old, "emb", make_rows(2 * BLOCK_ROWS + 5, 3, SINGLE))
    new.write_bytes(b"precious")

    def apply(block: np.ndarray, first_row: int) -> np.ndarray:
        if first_row:
            raise error("images must be finite, got NaN in row 7. Remove it.")
        return block

    with pytest.raises(error) as caught:
        transform_files(case.spec(old), new, apply, overwrite=True)
    if error is InputError:
        assert str(caught.value).startswith(f"{case.spec(old)}: images must be finite")
    assert names(tmp_path) == sorted([old.name, new.name])
    assert new.read_bytes() == b"precious"


def test_a_failure_in_the_second_shard_leaves_no_folder(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for i in range(3):
        np.save(tmp_path / "in" / f"{i}.npy", np.full((4, 3), float(i)))

    def apply(block: np.ndarray, first_row: int) -> np.ndarray:
        if block[0, 0] == 1:
            raise InputTypeError("must be another type.")
        return block

    with pytest.raises(InputTypeError, match=r"in/1\.npy: must be another"):
        transform_files(tmp_path / "in", tmp_path / "out", apply)
    assert names(tmp_path) == ["in"]


@pytest.mark.parametrize(
    "function",
    [
        lambda block, i: block[:-1],
        lambda block, i: block[0],
        lambda block, i: block[:, : 2 + (i > 0)],
        lambda block, i: block[None],
        lambda block, i: block.sum(),
    ],
)
def test_a_function_must_return_one_row_for_each(tmp_path: Path, function: object) -> None:
    np.save(tmp_path / "a.npy", np.ones((BLOCK_ROWS + 1, 4)))
    with pytest.raises(InputError, match="the result of a transformation must be of shape"):
        transform_files(tmp_path / "a.npy", tmp_path / "b.npy", function)
    assert names(tmp_path) == ["a.npy"]


@pytest.mark.parametrize("name", ["npy", "npz", "npz deflated", "safetensors", "parquet list"])
def test_damage_that_shows_late_leaves_nothing(name: str, tmp_path: Path) -> None:
    case = FORMATS[name]
    old, new = tmp_path / f"old{case.suffix}", tmp_path / f"new{case.suffix}"
    case.write(old, "emb", make_rows(4 * BLOCK_ROWS, 3, SINGLE))

    def apply(block: np.ndarray, first_row: int) -> np.ndarray:
        os.truncate(old, 200)
        return block

    with pytest.raises(InputError, match=rf"{old}.*Write the file again"):
        transform_files(case.spec(old), new, apply)
    assert names(tmp_path) == [old.name]


FULL_DISK = """
import resource, sys
from fillgap.errors import InputError
from fillgap.io import transform_files
resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))
try:
    transform_files(sys.argv[1], sys.argv[2], lambda block, first_row: block, overwrite=True)
except InputError as error:
    print(error)
"""


@pytest.mark.parametrize(
    "name", ["npy", "npz", "npz deflated", "safetensors", "parquet fixed", "arrow stream"]
)
def test_a_full_disk(name: str, tmp_path: Path) -> None:
    case = FORMATS[name]
    old, new = tmp_path / f"old{case.suffix}", tmp_path / f"new{case.suffix}"
    rng = np.random.default_rng(0)
    case.write(old, "emb", rng.normal(size=(3 * BLOCK_ROWS, 8)).astype("f4"))
    new.write_bytes(b"precious")
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-c", FULL_DISK, case.spec(old), str(new)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.startswith(f"{new} must be writable, got 'File too large'."), done.stderr
    assert done.stderr == ""
    assert names(tmp_path) == sorted([old.name, new.name])
    assert new.read_bytes() == b"precious"


SLOW = """
import signal, sys, time
from fillgap.io import transform_files
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background ignores it
def slow(block, first_row):
    print(first_row, flush=True)
    time.sleep(0.05 if first_row else 0)
    return block
transform_files(sys.argv[1], sys.argv[2], slow, overwrite=True)
"""


@pytest.mark.parametrize("name", ["npy", "npz", "safetensors", "parquet fixed", "arrow stream"])
def test_a_real_interruption(name: str, tmp_path: Path) -> None:
    case = FORMATS[name]
    old, new = tmp_path / f"old{case.suffix}", tmp_path / f"new{case.suffix}"
    case.write(old, "emb", make_rows(40 * BLOCK_ROWS, 2, SINGLE))
    new.write_bytes(b"precious")
    with subprocess.Popen(
        [sys.executable, "-c", SLOW, case.spec(old), str(new)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "0\n"
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)
    assert "KeyboardInterrupt" in errors
    assert process.returncode != 0
    assert names(tmp_path) == sorted([old.name, new.name])
    assert new.read_bytes() == b"precious"

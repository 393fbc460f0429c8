"""Files that appear whole or not at all."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from fillgap.errors import InputError
from fillgap.files import atomic_file, atomic_folder, check_target, missing_path, written_back


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_appears_with_its_content(tmp_path: Path) -> None:
    target = tmp_path / ("n" * 251 + ".bin")  # as long as the file system allows
    with atomic_file(target) as temporary:
        temporary.write_bytes(b"whole")
        assert names(tmp_path) == [temporary.name]
        assert temporary.name.startswith(".")
    assert names(tmp_path) == [target.name]
    assert target.read_bytes() == b"whole"


@pytest.mark.parametrize(
    ("raised", "words"),
    [
        (ValueError("no"), "no"),
        (KeyboardInterrupt("no"), "no"),
        (SystemExit("no"), "no"),
        (OSError(28, "full"), "must be writable, got 'No space left on device'"),
    ],
)
def test_failure_leaves_what_was_there_and_nothing_else(
    tmp_path: Path, raised: BaseException, words: str
) -> None:
    error = InputError if isinstance(raised, OSError) else type(raised)
    target = tmp_path / "a.bin"
    target.write_bytes(b"old")
    for path in (target, tmp_path / "b"):
        with pytest.raises(error, match=words), atomic_file(path) as temporary:
            temporary.write_bytes(b"half")
            raise raised
    with pytest.raises(error, match=words), atomic_folder(tmp_path / "c") as folder:
        (folder / "a").write_bytes(b"half")
        raise raised
    assert names(tmp_path) == ["a.bin"]
    assert target.read_bytes() == b"old"


def test_the_bytes_are_on_the_disk_before_the_name_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    monkeypatch.setattr(os, "fsync", lambda _: seen.append(names(tmp_path)))
    with atomic_file(tmp_path / "a") as temporary:
        temporary.write_bytes(b"x")
    with atomic_folder(tmp_path / "out") as folder:
        (folder / "b").write_bytes(b"x")
        (folder / "c").write_bytes(b"x")
    assert seen == [[temporary.name], *[sorted([folder.name, "a"])] * 2]


def test_mode_and_link_stay(tmp_path: Path) -> None:
    """A new file follows the umask; of a link the file behind it is replaced."""
    (tmp_path / "elsewhere").mkdir()
    old, link, new, plain = (tmp_path / name for name in ("elsewhere/old", "link", "new", "plain"))
    old.touch()
    old.chmod(0o640)
    link.symlink_to(old)
    plain.touch()
    for target in (link, new):
        with atomic_file(target) as temporary:
            temporary.write_bytes(b"x")
    assert link.is_symlink()
    assert old.read_bytes() == b"x"
    assert names(old.parent) == ["old"]
    assert stat.S_IMODE(old.stat().st_mode) == 0o640
    assert new.stat().st_mode == plain.stat().st_mode


@pytest.mark.parametrize("old", [False, True])
def test_a_folder_appears_in_one_step_and_an_old_one_keeps_its_other_files(
    old: bool, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    if old:
        (out / "inner").mkdir(parents=True)
        for name in ("a", "inner/mine", "notes.md"):
            (out / name).write_bytes(b"old")
    with atomic_folder(out) as temporary:
        (temporary / "inner" / "deep").mkdir(parents=True)
        for name in ("a", "b", "inner/deep/c"):
            (temporary / name).write_bytes(b"new")
        assert out.exists() == old
        assert not old or (out / "a").read_bytes() == b"old"
    assert names(tmp_path) == ["out"]
    found = {str(p.relative_to(out)): p.read_bytes() for p in out.rglob("*") if p.is_file()}
    kept = dict.fromkeys(("inner/mine", "notes.md"), b"old") if old else {}
    assert found == dict.fromkeys(("a", "b", "inner/deep/c"), b"new") | kept


FULL_DISK = """
import resource, sys
from pathlib import Path
from fillgap.errors import InputError
from fillgap.files import atomic_file
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
try:
    with atomic_file(Path(sys.argv[1])) as temporary:
        temporary.write_bytes(bytes(20_000))
except InputError as error:
    print(error)
"""


def test_a_real_limit_of_the_file_size(tmp_path: Path) -> None:
    target = tmp_path / "a.bin"
    target.write_bytes(b"old")
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(target)], capture_output=True, text=True, check=False
    )
    assert done.stdout.startswith(f"{target} must be writable, got 'File too large'."), done.stderr
    assert names(tmp_path) == ["a.bin"]
    assert target.read_bytes() == b"old"


@pytest.mark.parametrize("how", ["same", "relative", "symlink", "hardlink", "folder"])
def test_an_input_is_never_a_target(
    tmp_path: Path, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    source, target = tmp_path / "in.npy", tmp_path / "other.npy"
    source.touch()
    if how == "symlink":
        target.symlink_to(source)
    elif how == "hardlink":
        target.hardlink_to(source)
    elif how == "folder":
        source, target = tmp_path, tmp_path / ".." / tmp_path.name
    else:
        target = source if how == "same" else Path("in.npy")
    with pytest.raises(InputError, match="must be another file than the input"):
        check_target(target, inputs=["missing", source], overwrite=True)


def test_what_may_be_a_target(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    (tmp_path / "dangling").symlink_to(tmp_path / "nothing")
    os.mkfifo(tmp_path / "pipe")
    assert check_target(str(tmp_path / "new")) == tmp_path / "new"
    for name in ("a", "dangling"):
        assert check_target(tmp_path / name, overwrite=True) == tmp_path / name
    for target, overwrite, words in (
        (tmp_path / "a", False, "a must be a new name.*--overwrite"),
        (tmp_path / "dangling", False, "dangling must be a new name.*--overwrite"),
        (tmp_path / "pipe", True, "must be a file or a folder to be replaced"),
        (Path("/dev/null"), True, "must be a file or a folder to be replaced"),
        (tmp_path / ("n" * 300), True, "too long or holds NUL"),
        (tmp_path / "a\0b", True, "too long or holds NUL"),
        (tmp_path / "no" / "a.npy", True, "must be in a folder that exists.*Create that folder"),
    ):
        with pytest.raises(InputError, match=words):
            check_target(target, inputs=[tmp_path], overwrite=overwrite)


def test_near_names_are_offered(tmp_path: Path) -> None:
    (tmp_path / "images.npy").touch()
    for name, words in (("image.npy", "Did you mean images.npy?"), ("no/images.npy", "Check the")):
        assert words in str(missing_path(tmp_path / name))


def test_a_file_is_brought_onto_the_disk_while_it_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    synchronised = threading.Event()

    def fdatasync(descriptor: int) -> None:
        seen.append(os.fstat(descriptor).st_size)
        synchronised.set()

    monkeypatch.setattr(os, "fdatasync", fdatasync)
    path = tmp_path / "new"
    with written_back(path), path.open("wb", buffering=0) as file:
        file.write(b"12345")
        assert synchronised.wait(10)
    assert set(seen) <= {0, 5}
    assert not [thread for thread in threading.enumerate() if "write_back" in thread.name]
    with pytest.raises(ZeroDivisionError), written_back(tmp_path / "never"):
        1 / 0  # noqa: B018

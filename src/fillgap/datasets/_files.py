"""Image files of a folder, found by the names that annotations give them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Final

from fillgap._checks import InputError
from fillgap._files import missing_path

__all__ = ["IMAGE_SUFFIXES", "OUTSIDE", "FolderImages", "find_folder", "find_named", "is_inside"]

#: Suffixes of files that are taken for pictures.
IMAGE_SUFFIXES: Final = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff")
#: Why a name that leads out of its folder is left out.
OUTSIDE: Final = "file name that leads out of the folder left out"


def is_inside(name: str) -> bool:
    """Tell whether a file name from a data file stays within the folder that it is joined to."""
    plain = name.replace("\\", "/")
    parts = PurePosixPath(plain).parts
    drive = plain[1:2] == ":"
    return bool(parts) and not (plain.startswith("/") or drive or ".." in parts or "\0" in plain)


class FolderImages:
    """The image files below a folder; each folder is listed once, and no image is opened.

    Parameters
    ----------
    root : str or path
        The folder.

    Raises
    ------
    InputError
        If there is no such folder.
    """

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)
        if not self.root.exists():
            raise missing_path(self.root)
        if not self.root.is_dir():
            raise InputError(
                f"{self.root} must be a folder of images, got a file. Name the folder it is in."
            )
        self._names: dict[str, set[str]] = {}

    def __contains__(self, name: str) -> bool:
        """Tell whether there is a file of that name, which stays within the folder."""
        if not is_inside(name):
            return False
        folder, _, file = name.replace("\\", "/").rpartition("/")
        if folder not in self._names:
            try:
                with os.scandir(self.root / folder) as found:
                    self._names[folder] = {entry.name for entry in found if entry.is_file()}
            except OSError:
                self._names[folder] = set()
        return file in self._names[folder]

    def path(self, name: str) -> Path:
        """Return the path behind a name."""
        return self.root / name.replace("\\", "/")

    def walk(self) -> Iterator[str]:
        """Yield the names of all pictures below the folder, in order."""
        for folder, folders, files in os.walk(self.root):
            folders.sort()
            for file in sorted(files):
                if file.lower().endswith(IMAGE_SUFFIXES):
                    yield Path(folder, file).relative_to(self.root).as_posix()


def find_folder(root: Path, names: tuple[str, ...], option: str = "images") -> Path:
    """Return the first of these folders that there is below `root`.

    Raises
    ------
    InputError
        If there is none.
    """
    for name in names:
        if (root / name).is_dir():
            return root / name
    raise InputError(
        f"{root} must hold the folder of its images ({', '.join(names)}), got none of these. "
        f"Name it with the option {option}."
    )


def find_named(root: Path, name: str) -> Path:
    """Return what an option names: below `root` where it is there, else as it is written."""
    inside = root / name
    return inside if inside.exists() else Path(name)

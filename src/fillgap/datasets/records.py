"""Records of one image with its captions: what offers them, collects them, and draws pairs."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any, Final, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from fillgap.errors import InputError, check_integer, check_random_state
from fillgap.files import missing_path

Image: TypeAlias = Path | bytes | NDArray[np.uint8] | None

#: Suffixes of files that are taken for pictures.
IMAGE_SUFFIXES: Final = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff")
#: Why a name that leads out of its folder is left out.
OUTSIDE: Final = "file name that leads out of the folder left out"
#: Lines that are kept of problems of one kind; the others are counted.
MAX_LINES: Final = 50


@dataclass(frozen=True, slots=True)
class Record:
    """One image and what is said about it.

    Attributes
    ----------
    id : str
        Unique in its dataset.
    image : path, bytes, array of uint8 or None
        A file, an encoded picture, or pixels: not yet decoded. None where there are texts alone.
    captions : tuple of str
        None of them empty.
    label : int or None
        Class of the image, where there are classes.
    """

    id: str
    image: Image
    captions: tuple[str, ...]
    label: int | None = None


class Dataset(Protocol):
    """Images with captions that are read when they are asked for.

    Attributes
    ----------
    name : str
        What reports call it.
    class_names : sequence of str or None
        Names of the classes, by label.
    problems : sequence of str
        What was left out on reading, and why, one line each.
    """

    name: str
    class_names: Sequence[str] | None
    problems: Sequence[str]

    def __len__(self) -> int:
        """Return the number of images."""

    def __getitem__(self, i: int) -> Record:
        """Return the image of row `i` with its captions."""


def told_of(dataset: Dataset, i: int) -> Record:
    """Return a record of which everything counts but the image, which is not read if possible."""
    without: Callable[[int], Record] = getattr(dataset, "without_image", dataset.__getitem__)
    return without(i)


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
                with os.scandir(self.root / folder) as entries:
                    self._names[folder] = {entry.name for entry in entries if entry.is_file()}
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


def find_named(root: Path, name: str) -> Path:
    """Return what an option names: below `root` where it is there, else as it is written."""
    inside = root / name
    return inside if inside.exists() else Path(name)


class ListedDataset:
    """A dataset of records in whose place for an image lies what `read` makes it of."""

    def __init__(
        self,
        name: str,
        records: Sequence[Record],
        *,
        class_names: Sequence[str] | None = None,
        problems: Sequence[str] = (),
        read: Callable[[Any], Image] = lambda source: source,
    ) -> None:
        self.name = name
        self.class_names = class_names
        self.problems: Sequence[str] = tuple(problems)
        self._records, self._read = records, read

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, i: int) -> Record:
        record = self._records[i]
        return replace(record, image=self._read(record.image))

    def without_image(self, i: int) -> Record:
        """Return what is told of row `i`, with b"" in place of the image."""
        return replace(self._records[i], image=b"")


class Collector:
    """Collect the entries of a file, and list those that cannot be used instead of failing.

    Parameters
    ----------
    name : str
        What the dataset will be called.
    where : str or path
        What messages call the source.
    read : callable
        Returns the path, the bytes or the pixels behind a source.

    Examples
    --------
    >>> found = Collector("three", "memory")
    >>> found.add("a", b"...", ["a cat", " "])
    >>> found.add("a", b"...", ["a dog"])
    >>> dataset = found.dataset()
    >>> len(dataset), dataset.problems
    (1, ('a: empty caption left out', 'a: duplicated id, the first is kept'))
    """

    def __init__(
        self, name: str, where: str | Path, *, read: Callable[[Any], Image] = lambda source: source
    ) -> None:
        self._name, self._where, self._read = name, where, read
        self._records: dict[str, Record] = {}
        self._problems: dict[str, list[str]] = {}
        self._counts = Counter[str]()

    def leave_out(self, what: object, why: str) -> None:
        """List an entry that cannot be used; `why` is the same text for all of a kind."""
        kept = self._problems.setdefault(why, [])
        self._counts[why] += 1
        if len(kept) < MAX_LINES:
            kept.append(f"{what}: {why}")

    def add(
        self, name: str, source: Any, captions: Iterable[Any], *, label: int | None = None
    ) -> None:
        """Add an image, or list why it is left out.

        Parameters
        ----------
        name : str
            The id; of several entries with one id the first is kept.
        source : object
            What the image is made of; None where there is none.
        captions : iterable
            Texts; what is empty or no text is left out. An image without any, and without a label,
            is left out too.
        label : int, optional
            Class of the image.
        """
        if name in self._records:
            self.leave_out(name, "duplicated id, the first is kept")
            return
        if source is None:
            self.leave_out(name, "image missing")
            return
        texts = tuple(text for text in (self._clean(name, item) for item in captions) if text)
        if not texts and label is None:
            self.leave_out(name, "image without a caption left out")
            return
        self._records[name] = Record(name, source, texts, label)

    def _clean(self, name: str, caption: Any) -> str | None:
        """Return a caption on one line, or None and a remark."""
        if not isinstance(caption, str):
            self.leave_out(name, "caption that is no text left out")
            return None
        try:
            caption.encode()
        except UnicodeEncodeError:  # bytes that were no UTF-8, or half of a surrogate pair
            self.leave_out(name, "caption that is not in UTF-8 left out")
            return None
        text = " ".join(caption.split())
        if not text:
            self.leave_out(name, "empty caption left out")
        return text

    def dataset(self, *, class_names: Sequence[str] | None = None) -> ListedDataset:
        """Return what was collected.

        Raises
        ------
        InputError
            If nothing usable was found.
        """
        problems = []
        for why, kept in self._problems.items():
            more = self._counts[why] - len(kept)
            problems += kept + ([f"and {more} more: {why}"] if more else [])
        if not self._records:
            why = f"none ({problems[0]})" if problems else "none"
            raise InputError(
                f"{self._where} must hold at least one image with a caption, got {why}. "
                "Check that the images and the captions belong together."
            )
        records = list(self._records.values())
        if any(record.label is None for record in records):
            records = [replace(record, label=None) for record in records]
        return ListedDataset(
            self._name, records, class_names=class_names, problems=problems, read=self._read
        )


class _DrawnDataset:
    """Some images of a dataset, each with one of its captions."""

    def __init__(self, dataset: Dataset, rows: Any, captions: Any, name: str) -> None:
        self._dataset, self._rows, self._captions = dataset, rows, captions
        self.name = name
        self.class_names = dataset.class_names
        self.problems = dataset.problems

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, i: int) -> Record:
        return self._with_one_caption(self._dataset[int(self._rows[i])], i)

    def without_image(self, i: int) -> Record:
        return self._with_one_caption(told_of(self._dataset, int(self._rows[i])), i)

    def _with_one_caption(self, record: Record, i: int) -> Record:
        if not record.captions:
            raise InputError(
                f"{self.name} must have a caption for each image, got none for {record.id}. "
                "Draw pairs from images with captions."
            )
        caption = record.captions[int(self._captions[i]) % len(record.captions)]
        return replace(record, captions=(caption,))


def draw_pairs(
    dataset: Dataset, *, n_pairs: int = 2500, n_transport: int = 5000, random_state: int = 0
) -> tuple[Dataset, Dataset]:
    """Draw pairs to judge on and other pairs to learn a transport from, one caption an image.

    The defaults are COCO-PAIRS and CC-PAIRS of "Fill the Gap" (arXiv:2505.03703), which does not
    publish its rows. The pairs to judge on do not depend on `n_transport`.

    Parameters
    ----------
    dataset : Dataset
        Of images with captions.
    n_pairs, n_transport : int
        Images in each part.
    random_state : int
        Seed.

    Returns
    -------
    pairs, transport : Dataset

    Raises
    ------
    InputError
        If the dataset has fewer images than both parts need.

    Examples
    --------
    >>> pairs, transport = draw_pairs(open_dataset("digit-scenes"), n_pairs=100, n_transport=200)
    >>> len(pairs), len(transport), len(pairs[0].captions)
    (100, 200, 1)
    """
    check_integer(n_pairs, "n_pairs", low=1)
    check_integer(n_transport, "n_transport", low=0)
    if n_pairs + n_transport > len(dataset):
        raise InputError(
            f"{dataset.name} must have at least {n_pairs + n_transport} images for "
            f"{n_pairs} pairs and {n_transport} others, got {len(dataset)}. "
            "Choose a larger split, or smaller parts."
        )
    rng = check_random_state(random_state)
    rows = rng.permutation(len(dataset))
    captions = rng.integers(1 << 30, size=len(dataset))
    drawn = []
    for start, count, of in ((0, n_pairs, "pairs"), (n_pairs, n_transport, "for transport")):
        # In the order of the dataset, so that files of many pictures are read once, front to back.
        part = start + np.argsort(rows[start : start + count])
        name = f"{dataset.name}, {count} {of}"
        drawn.append(_DrawnDataset(dataset, rows[part], captions[part], name))
    return drawn[0], drawn[1]

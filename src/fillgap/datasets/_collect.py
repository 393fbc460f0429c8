"""From the entries of a file to a dataset: what all layouts check, and what they leave out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from fillgap._checks import InputError
from fillgap.datasets._record import Record

__all__ = ["Collector", "Image", "ListedDataset"]

Image: TypeAlias = Path | bytes | NDArray[np.uint8] | None

#: Lines that are kept of problems of one kind; the others are counted.
MAX_LINES: Final = 50


class ListedDataset:
    """A dataset whose entries are known and whose images are read when they are asked for.

    Parameters
    ----------
    name : str
        What reports call it.
    ids : sequence of str
        One for each image.
    sources : sequence
        What `read` makes an image of.
    captions : sequence of tuple of str
        Of each image.
    labels : sequence of int, optional
        Of each image.
    class_names : sequence of str, optional
        Names of the classes, by label.
    problems : sequence of str
        What was left out.
    read : callable
        Returns the path, the bytes or the pixels behind a source, None where there are none.
    """

    def __init__(
        self,
        name: str,
        ids: Sequence[str],
        sources: Sequence[Any],
        captions: Sequence[tuple[str, ...]],
        *,
        labels: Sequence[int] | None = None,
        class_names: Sequence[str] | None = None,
        problems: Sequence[str] = (),
        read: Callable[[Any], Image] = lambda source: source,
    ) -> None:
        self.name = name
        self.class_names = class_names
        self.problems: Sequence[str] = tuple(problems)
        self._ids, self._sources, self._captions = ids, sources, captions
        self._labels, self._read = labels, read

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self._ids)

    def __getitem__(self, i: int) -> Record:
        """Return the image of row `i` with its captions."""
        return replace(self.without_image(i), image=self._read(self._sources[i]))

    def without_image(self, i: int) -> Record:
        """Return what is told of row `i`, with b"" in place of the image."""
        label = None if self._labels is None else int(self._labels[i])
        return Record(self._ids[i], b"", self._captions[i], label)


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
        self,
        name: str,
        where: str | Path,
        *,
        read: Callable[[Any], Image] = lambda source: source,
    ) -> None:
        self._name, self._where, self._read = name, where, read
        self._rows: dict[str, tuple[Any, tuple[str, ...], int | None]] = {}
        self._problems: dict[str, list[str]] = {}
        self._counts: dict[str, int] = {}

    def leave_out(self, what: object, why: str) -> None:
        """List an entry that cannot be used; `why` is the same text for all of a kind."""
        kept = self._problems.setdefault(why, [])
        self._counts[why] = self._counts.get(why, 0) + 1
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
        if name in self._rows:
            self.leave_out(name, "duplicated id, the first is kept")
            return
        if source is None:
            self.leave_out(name, "image missing")
            return
        texts = tuple(text for text in (self._clean(name, item) for item in captions) if text)
        if not texts and label is None:
            self.leave_out(name, "image without a caption left out")
            return
        self._rows[name] = source, texts, label

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
        return text or None

    def dataset(self, *, class_names: Sequence[str] | None = None) -> ListedDataset:
        """Return what was collected.

        Raises
        ------
        InputError
            If nothing usable was found.
        """
        problems = self._lines()
        if not self._rows:
            why = f"none ({problems[0]})" if problems else "none"
            raise InputError(
                f"{self._where} must hold at least one image with a caption, got {why}. "
                "Check that the images and the captions belong together."
            )
        sources, captions, labels = zip(*self._rows.values(), strict=True)
        return ListedDataset(
            self._name,
            tuple(self._rows),
            sources,
            captions,
            labels=labels if all(label is not None for label in labels) else None,
            class_names=class_names,
            problems=problems,
            read=self._read,
        )

    def _lines(self) -> list[str]:
        lines = []
        for why, kept in self._problems.items():
            more = self._counts[why] - len(kept)
            lines += kept + ([f"and {more} more: {why}"] if more else [])
        return lines

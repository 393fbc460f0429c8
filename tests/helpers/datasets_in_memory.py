"""A dataset of records in memory, for the tests of what reads datasets."""

from __future__ import annotations

from collections.abc import Sequence

from fillgap.datasets import load_digit_scenes
from fillgap.datasets.records import Record


class Records:
    """Records behind the contract of a dataset; `read` lists the rows that were asked for."""

    def __init__(self, records: Sequence[Record], name: str = "records") -> None:
        self.name, self.class_names, self.problems = name, None, ()
        self.records, self.read = list(records), []

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, i: int) -> Record:
        self.read.append(i)
        return self.records[i]


def scenes(n: int = 30, name: str = "scenes") -> Records:
    """The first bundled scenes with their two captions each."""
    pair = load_digit_scenes()
    return Records(
        [
            Record(
                f"scene-{i}",
                pair.thumbnails[i],
                tuple(pair.captions[2 * i : 2 * i + 2]),
                int(pair.labels[i]),
            )
            for i in range(n)
        ],
        name,
    )

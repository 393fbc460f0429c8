"""Parquet files with pictures inside, as datasets are downloaded from the Hugging Face hub."""

from __future__ import annotations

import json
import re
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from fillgap._checks import InputError
from fillgap.datasets._files import is_inside
from fillgap.io._reading import reading

__all__ = ["ParquetShards", "find_shards"]

#: Groups of rows whose pictures are held: those that are read ahead may be in the next one.
_GROUPS: Final = 2
_NUMBERED = re.compile(r"(.+)-\d+-of-\d+")

#: File, group of rows, row in the group.
Place = tuple[int, int, int]


def find_shards(path: Path, split: str | None) -> list[Path]:
    """Return the Parquet files of a split, none where the path holds a dataset of another kind.

    Raises
    ------
    InputError
        If there is no such split, or there are several and none is named.
    """
    if path.is_file():
        return [path]
    if (path / "state.json").is_file() or (path / "dataset_dict.json").is_file():
        return []
    by_split: dict[str, list[Path]] = {}
    for file in sorted(path.rglob("*.parquet")):
        numbered = _NUMBERED.fullmatch(file.stem)
        by_split.setdefault(numbered[1] if numbered else file.stem, []).append(file)
    if not by_split:
        return []
    if split is None and len(by_split) == 1:
        return next(iter(by_split.values()))
    if split not in by_split:
        raise InputError(
            f"split must be one of {', '.join(by_split)}, got {split!r}. "
            "Choose it with the option split."
        )
    return by_split[split]


class ParquetShards:
    """The rows of Parquet files; pictures are read a group of rows at a time.

    Parameters
    ----------
    files : sequence of path
        With the same columns.

    Attributes
    ----------
    features : dict
        Each column as the library of Hugging Face describes it.
    """

    def __init__(self, files: Sequence[Path]) -> None:
        self._files = list(files)
        self.features = _features(self._opened(0).schema_arrow)
        self._image = ""
        self._held: OrderedDict[tuple[int, int], Any] = OrderedDict()
        self._holding = threading.Lock()

    def rows(
        self, image: str, caption: str | None, label: str | None
    ) -> Iterator[tuple[Place, list[Any], int | None]]:
        """Yield the place of each picture, which is not read, its captions and its label."""
        self._image = image
        wanted = [f"{image}.path", *(name for name in (caption, label) if name)]
        for number in range(len(self._files)):
            file = self._opened(number)
            for group in range(file.num_row_groups):
                with self._reading(number):
                    table = file.read_row_group(group, columns=wanted)
                    texts = table[caption].to_pylist() if caption else [[]] * table.num_rows
                    labels = table[label].to_pylist() if label else [None] * table.num_rows
                for row, (text, kind) in enumerate(zip(texts, labels, strict=True)):
                    listed = text if isinstance(text, list) else [text]
                    yield (number, group, row), listed, kind

    def picture(self, place: Place) -> bytes | Path:
        """Return a picture; b"" where there is none, which no decoder takes for one."""
        number, group, row = place
        value = self._group(number, group)[row].as_py() or {}
        if isinstance(value, bytes):  # a column of encoded pictures
            return value
        if value.get("bytes"):
            return bytes(value["bytes"])
        name = value.get("path") or ""
        return self._files[number].parent / name if is_inside(name) else b""

    def _group(self, number: int, group: int) -> Any:
        with self._holding:
            if (number, group) not in self._held:
                while len(self._held) >= _GROUPS:
                    self._held.popitem(last=False)
                with self._reading(number):
                    table = self._opened(number).read_row_group(group, columns=[self._image])
                    self._held[number, group] = table[self._image].combine_chunks()
            self._held.move_to_end((number, group))
            return self._held[number, group]

    def _opened(self, number: int) -> Any:
        import pyarrow.parquet as pq

        with self._reading(number):
            return pq.ParquetFile(self._files[number])

    def _reading(self, number: int) -> Any:
        return reading(
            str(self._files[number]), "a whole Parquet file with the columns of the first"
        )


def _features(schema: Any) -> dict[str, Any]:
    """Return the features that the library wrote into the schema, or what the types say."""
    import pyarrow as pa

    features = {
        field.name: {"_type": "Image"}
        if pa.types.is_struct(field.type) and field.type.get_field_index("bytes") >= 0
        else {"_type": "Value"}
        for field in schema
    }
    with suppress(KeyError, TypeError, ValueError, AttributeError):
        told = json.loads(schema.metadata[b"huggingface"])["info"]["features"]
        features |= {name: kind for name, kind in told.items() if name in features}
    return features

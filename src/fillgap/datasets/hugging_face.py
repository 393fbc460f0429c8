"""Datasets of Hugging Face: Parquet files as they are downloaded, and what `save_to_disk` wrote."""

from __future__ import annotations

import json
import re
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from fillgap.datasets.captioned import CAPTION_COLUMNS
from fillgap.datasets.records import OUTSIDE, Collector, Dataset, Image, is_inside
from fillgap.datasets.tables import choose_column, read_json
from fillgap.errors import InputError
from fillgap.files import missing_path
from fillgap.io.names import reading

#: Groups of rows whose pictures are held: those that are read ahead may be in the next one.
_GROUPS: Final = 2
_NUMBERED = re.compile(r"(.+)-\d+-of-\d+")

#: File, group of rows, row in the group.
Place = tuple[int, int, int]
#: Columns of the images, the captions and the labels.
Columns = tuple[str, str | None, str | None]


def open_hugging_face(
    path: Path,
    *,
    split: str | None = None,
    image_column: str | None = None,
    caption_column: str | None = None,
    label_column: str | None = None,
) -> Dataset:
    """Open what `save_to_disk` wrote, or Parquet files as they are downloaded from the hub.

    `path` is the folder of a dataset or of a dictionary of splits, a folder with Parquet files in
    it or below it, or one such file; `split` is needed where there are several. Columns that are
    left out are the one of images, the usual names of captions (a list of texts is several), and
    the one of class labels.
    """
    named = image_column, caption_column, label_column
    if files := _find_shards(path, split):
        shards = ParquetShards(files)
        columns = _choose_columns(shards.features, path, *named)
        found = Collector(path.stem, path, read=shards.picture)
        for number, (place, texts, label) in enumerate(shards.rows(columns)):
            found.add(str(number), place, texts, label=label)
        return found.dataset(class_names=_class_names(shards.features, columns))
    folder = _split_folder(path, split)
    info = read_json(folder / "dataset_info.json")
    features = info.get("features") if isinstance(info, dict) else None
    if not isinstance(features, dict):
        raise InputError(
            f"{folder}/dataset_info.json must describe the features, got none. Save it again."
        )
    return _read_arrow(folder, features, _choose_columns(features, folder, *named))


def _find_shards(path: Path, split: str | None) -> list[Path]:
    """Return the Parquet files of a split, none where the path holds a dataset of another kind."""
    if path.is_file():
        return [path]
    if (path / "state.json").is_file() or (path / "dataset_dict.json").is_file():
        return []
    by_split: dict[str, list[Path]] = {}
    for file in sorted(path.rglob("*.parquet")):
        numbered = _NUMBERED.fullmatch(file.stem)
        by_split.setdefault(numbered[1] if numbered else file.stem, []).append(file)
    return by_split[_choose_split(list(by_split), split)] if by_split else []


def _choose_split(splits: Sequence[str], split: str | None) -> str:
    """Return the split that is asked for, or the only one."""
    if split is None and len(splits) == 1:
        return splits[0]
    if split is None or split not in splits:
        raise InputError(
            f"split must be one of {', '.join(splits)}, got {split!r}. "
            "Choose it with the option split."
        )
    return split


def _choose_columns(
    features: dict[str, Any], place: Path, image: str | None, caption: str | None, label: str | None
) -> Columns:
    """Choose among features as the library describes them; those that are named come first."""
    images, labels = (
        [
            name
            for name, told in features.items()
            if isinstance(told, dict) and told.get("_type") == kind
        ]
        for kind in ("Image", "ClassLabel")
    )
    if image is None:
        if len(images) != 1:
            raise InputError(
                f"{place} must have one column of images, got {', '.join(images) or 'none'} among "
                f"{', '.join(features)}. Name it with the option image_column."
            )
        image = images[0]
    label = label or (labels[0] if len(labels) == 1 else None)
    if caption is not None or label is None:
        caption = choose_column(list(features), caption, CAPTION_COLUMNS, "caption", place)
    else:
        caption = next((name for name in CAPTION_COLUMNS if name in features), None)
    for name in (image, caption, label):
        if name is not None and name not in features:
            raise InputError(
                f"{place} must have the column {name!r}, got {', '.join(features)}. Check it."
            )
    return image, caption, label


def _class_names(features: dict[str, Any], columns: Columns) -> list[str] | None:
    return features.get(columns[2], {}).get("names") if columns[2] else None


def _told(rows: Any, columns: Columns) -> Iterator[tuple[list[Any], int | None]]:
    """Yield the captions and the label of each row of a table or batch."""
    _, caption, label = columns
    texts = rows.column(caption).to_pylist() if caption else [[]] * rows.num_rows
    labels = rows.column(label).to_pylist() if label else [None] * rows.num_rows
    for text, kind in zip(texts, labels, strict=True):
        yield text if isinstance(text, list) else [text], kind


class ParquetShards:
    """The rows of Parquet files with the same columns; pictures are read a group at a time."""

    def __init__(self, files: Sequence[Path]) -> None:
        self._files = list(files)
        self.features = _recorded_features(self._opened(0).schema_arrow)
        self._image = ""
        self._held: OrderedDict[tuple[int, int], Any] = OrderedDict()
        self._holding = threading.Lock()

    def rows(self, columns: Columns) -> Iterator[tuple[Place, list[Any], int | None]]:
        """Yield the place of each picture, which is not read, its captions and its label."""
        self._image = columns[0]
        wanted = [f"{columns[0]}.path", *(name for name in columns[1:] if name)]
        for number in range(len(self._files)):
            file = self._opened(number)
            for group in range(file.num_row_groups):
                with self._reading(number):
                    told = list(_told(file.read_row_group(group, columns=wanted), columns))
                for row, (texts, label) in enumerate(told):
                    yield (number, group, row), texts, label

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


def _recorded_features(schema: Any) -> dict[str, Any]:
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


def _split_folder(path: Path, split: str | None) -> Path:
    """Return the folder of one dataset that `save_to_disk` wrote."""
    if not (path / "dataset_dict.json").is_file():
        if not (path / "state.json").is_file():
            raise InputError(
                f"{path} must be a folder that save_to_disk wrote or hold Parquet files, got no "
                "state.json and none of these. Load it with the library and save it to disk."
            )
        return path
    document = read_json(path / "dataset_dict.json")
    splits = document.get("splits", []) if isinstance(document, dict) else []
    return path / _choose_split([name for name in map(str, splits) if is_inside(name)], split)


def _read_arrow(folder: Path, features: dict[str, Any], columns: Columns) -> Dataset:
    """Return a dataset whose pictures stay in mapped Arrow streams, or lie beside them."""
    state = read_json(folder / "state.json")
    if not isinstance(state, dict) or state.get("_indices_data_files"):
        raise InputError(
            f"{folder} must be a dataset without a table of indices, got one with it. "
            "Call flatten_indices() and save it again."
        )
    files = [entry.get("filename", "") for entry in state.get("_data_files", [])]
    if not files or not all(is_inside(file) for file in files):
        raise InputError(
            f"{folder}/state.json must name data files in its folder, got {files or 'none'}. "
            "Save the dataset again."
        )
    tables: list[Any] = []

    def read(place: tuple[int, int]) -> Image:
        table, row = place
        value = tables[table][columns[0]][row].as_py()
        return value["bytes"] or folder / value["path"]

    found = Collector(folder.name, folder, read=read)
    number = 0
    for file in files:
        table = _mapped_table(folder / file, found)
        tables.append(table)
        row = 0
        for batch in table.to_batches(max_chunksize=1024):
            pictures = batch.column(columns[0])
            # Whether there are bytes is known from offsets: the pictures themselves stay on disk.
            stored = pictures.field("bytes").is_valid().to_pylist()
            paths = pictures.field("path").to_pylist()
            for has_bytes, name, (texts, label) in zip(
                stored, paths, _told(batch, columns), strict=True
            ):
                place = (len(tables) - 1, row) if has_bytes or name is not None else None
                if name and not has_bytes and not (is_inside(name) and (folder / name).is_file()):
                    found.leave_out(f"row {number}", OUTSIDE)
                else:
                    found.add(str(number), place, texts, label=label)
                row, number = row + 1, number + 1
    return found.dataset(class_names=_class_names(features, columns))


def _mapped_table(file: Path, found: Collector) -> Any:
    """Return the rows of an Arrow stream, mapped and not read; what is cut off is left out."""
    import pyarrow as pa

    if not file.is_file():
        raise missing_path(file)
    batches = []
    try:
        reader = pa.ipc.open_stream(pa.memory_map(str(file)))
    except (pa.ArrowInvalid, OSError) as error:
        reason = str(error).partition("\n")[0]
        raise InputError(
            f"{file} must be an Arrow stream, got other or damaged content ({reason}). "
            "Save the dataset again."
        ) from error
    try:
        batches.extend(reader)
    except (pa.ArrowInvalid, OSError):
        found.leave_out(file.name, "rest of the file cut off")
    return pa.Table.from_batches(batches, reader.schema)

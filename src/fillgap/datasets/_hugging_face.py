"""Datasets of Hugging Face on disk, read without its library."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from fillgap._checks import InputError
from fillgap._files import missing_path
from fillgap.datasets._collect import Collector, Image
from fillgap.datasets._files import OUTSIDE, is_inside
from fillgap.datasets._folder import CAPTION_COLUMNS
from fillgap.datasets._parquet_shards import ParquetShards, find_shards
from fillgap.datasets._record import Dataset
from fillgap.datasets._tables import choose_column, read_json

__all__ = ["open_hugging_face"]


def open_hugging_face(
    path: Path, *, split: str | None = None, image_column: str | None = None,
    caption_column: str | None = None, label_column: str | None = None,
) -> Dataset:  # fmt: skip
    """Open what `save_to_disk` wrote, or Parquet files as they are downloaded from the hub.

    Parameters
    ----------
    path : Path
        The folder of a dataset or of a dictionary of splits, a folder with Parquet files in it or
        below it, or one such file.
    split : str, optional
        Which of the splits; needed where there are several.
    image_column, caption_column, label_column : str, optional
        Columns; left out, the one column of images, the usual names of captions (a list of texts
        is several), and the one column of class labels.
    """
    if not path.exists():
        raise missing_path(path)
    if files := find_shards(path, split):
        shards = ParquetShards(files)
        chosen = _Columns.among(shards.features, path, image_column, caption_column, label_column)
        found = Collector(path.stem, path, read=shards.picture)
        for number, (place, texts, kind) in enumerate(shards.rows(*chosen[:3])):
            found.add(str(number), place, texts, label=kind)
        return found.dataset(class_names=chosen.class_names)
    folder = _split_folder(path, split)
    features = _features(folder)
    return _collect(
        folder, _Columns.among(features, folder, image_column, caption_column, label_column)
    )


class _Columns(NamedTuple):
    """The columns that are read."""

    image: str
    caption: str | None
    label: str | None
    class_names: list[str] | None

    @classmethod
    def among(cls, features: dict[str, Any], place: Path, *named: str | None) -> _Columns:
        """Choose among features; those that are named (image, caption, label) come first."""
        image_column, caption_column, label_column = named
        image = image_column or _only(features, "Image", place)
        labels = [name for name, kind in features.items() if _type(kind) == "ClassLabel"]
        label = label_column or (labels[0] if len(labels) == 1 else None)
        if caption_column is not None or label is None:
            caption: str | None = choose_column(
                list(features), caption_column, CAPTION_COLUMNS, "caption", place
            )
        else:
            caption = next((name for name in CAPTION_COLUMNS if name in features), None)
        for name in (image, caption, label):
            if name is not None and name not in features:
                raise InputError(
                    f"{place} must have the column {name!r}, got {', '.join(features)}. Check it."
                )
        return cls(image, caption, label, features.get(label, {}).get("names") if label else None)


def _collect(folder: Path, columns: _Columns) -> Dataset:
    image, caption, label, names = columns
    tables: list[Any] = []

    def read(place: tuple[int, int]) -> Image:
        table, row = place
        value = tables[table][image][row].as_py()
        return value["bytes"] or folder / value["path"]

    found = Collector(folder.name, folder, read=read)
    number = 0
    for file in _data_files(folder):
        tables.append(_table(folder / file, found))
        for row, (there, texts, kind) in enumerate(_rows(tables[-1], image, caption, label)):
            if there is not None and not _usable(there, folder):
                found.leave_out(f"row {number}", OUTSIDE)
            else:
                source = None if there is None else (len(tables) - 1, row)
                found.add(str(number), source, texts, label=kind)
            number += 1
    return found.dataset(class_names=names)


def _rows(
    table: Any, image: str, caption: str | None, label: str | None
) -> Iterator[tuple[str | None, Any, int | None]]:
    """Yield ("" for bytes, the path, or None without an image; captions; label) of each row."""
    for batch in table.to_batches(max_chunksize=1024):
        pictures = batch.column(image)
        # Whether there are bytes is known from offsets: the pictures themselves stay on disk.
        stored, paths = pictures.field("bytes").is_valid(), pictures.field("path")
        texts = batch.column(caption).to_pylist() if caption else [[]] * len(batch)
        labels = batch.column(label).to_pylist() if label else [None] * len(batch)
        for has_bytes, path, text, kind in zip(
            stored.to_pylist(), paths.to_pylist(), texts, labels, strict=True
        ):
            yield ("" if has_bytes else path), text if isinstance(text, list) else [text], kind


def _usable(place: str, folder: Path) -> bool:
    """Tell whether an image is in the file, or a file within the folder."""
    return not place or (is_inside(place) and (folder / place).is_file())


def _split_folder(path: Path, split: str | None) -> Path:
    if not (path / "dataset_dict.json").is_file():
        if not (path / "state.json").is_file():
            raise InputError(
                f"{path} must be a folder that save_to_disk wrote or hold Parquet files, got no "
                "state.json and none of these. Load it with the library and save it to disk."
            )
        return path
    document = read_json(path / "dataset_dict.json")
    splits = document.get("splits", []) if isinstance(document, dict) else []
    if split is None and len(splits) == 1:
        split = splits[0]
    if split not in splits or not is_inside(str(split)):
        raise InputError(
            f"split must be one of {', '.join(map(str, splits))}, got {split!r}. "
            "Choose it with the option split."
        )
    return path / str(split)


def _features(folder: Path) -> dict[str, Any]:
    info = read_json(folder / "dataset_info.json")
    features = info.get("features") if isinstance(info, dict) else None
    if not isinstance(features, dict):
        raise InputError(
            f"{folder}/dataset_info.json must describe the features, got none. Save it again."
        )
    return features


def _type(feature: Any) -> str | None:
    return feature.get("_type") if isinstance(feature, dict) else None


def _only(features: dict[str, Any], kind: str, folder: Path) -> str:
    names = [name for name, feature in features.items() if _type(feature) == kind]
    if len(names) != 1:
        raise InputError(
            f"{folder} must have one column of images, got {', '.join(names) or 'none'} among "
            f"{', '.join(features)}. Name it with the option image_column."
        )
    return names[0]


def _data_files(folder: Path) -> list[str]:
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
    return files


def _table(file: Path, found: Collector) -> Any:
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

"""An experiment from a TOML file; every refusal names the key that is wrong."""

from __future__ import annotations

from dataclasses import fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final

from fillgap._checks import InputError, InputTypeError
from fillgap._files import missing_path
from fillgap.experiments.specification import (
    BUNDLED,
    EmbeddingData,
    EncoderModel,
    Experiment,
    PictureData,
    Representation,
    default_name,
)
from fillgap.io._reading import reading

__all__ = ["read_experiment"]

_KEYS: Final[dict[str, type | tuple[type, ...]]] = {
    "name": str, "data": list, "encoder": list, "representation": list, "measures": list,
    "n_judged": int, "n_separate": int, "random_state": int,
}  # fmt: skip
_DATA: Final = tuple(item.name for item in fields(EmbeddingData))


def read_experiment(path: str | Path) -> Experiment:
    """Return the experiment that a TOML file describes.

    Paths are relative to the folder of the file. In `[[representation]]` what is not `name`,
    `method` or `fitted_on` is a parameter of the method; in `[[data]]` with a `dataset`, and in
    `[[encoder]]`, what is not `name`, `dataset` or `model` is an option.

    Parameters
    ----------
    path : str or path
        The file.

    Raises
    ------
    InputError
        If the file is missing or no TOML, or a key is unknown, missing or wrong: the message
        begins with the file and the key.
    """
    import tomllib

    file = Path(path)
    if not file.is_file():
        raise missing_path(file)
    with reading(str(file), "a TOML file in UTF-8"):
        document = tomllib.loads(file.read_text(encoding="utf-8-sig"))
    for key, value in document.items():
        _check_key(file, key, tuple(_KEYS))
        _check_type(file, key, value, _KEYS[key])
    for key in ("data", "measures"):
        if not document.get(key):
            raise InputError(f"{file}: {key} must be given, got none. Add it.")
    data = [_data(file, i, item) for i, item in enumerate(document["data"])]
    models = [_encoder(file, i, item) for i, item in enumerate(document.get("encoder", []))]
    ways = [_representation(file, i, x) for i, x in enumerate(document.get("representation", []))]
    for i, name in enumerate(document["measures"]):
        _check_type(file, f"measures[{i}]", name, str)
    rest = {k: document[k] for k in ("n_judged", "n_separate", "random_state") if k in document}
    try:
        return Experiment(
            name=document.get("name", file.stem),
            data=tuple(data),
            representations=tuple(ways) or (Representation("raw"),),
            measures=tuple(document["measures"]),
            encoders=tuple(models),
            **rest,
        )
    except (InputError, InputTypeError) as error:
        raise InputError(f"{file}: {error}") from error


def _data(file: Path, number: int, item: Any) -> EmbeddingData | PictureData:
    """Return one entry of the data: a path, or a table."""
    key = f"data[{number}]"
    if isinstance(item, str):
        item = {"path": item}
    _check_type(file, key, item, dict)
    for name, value in item.items():
        if "dataset" not in item:
            _check_key(file, name, (*_DATA, "dataset"), key)
        _check_type(file, f"{key}.{name}", value, str)
    if "dataset" in item:
        if "path" in item:
            raise InputError(
                f"{file}: {key}.path must be left out where a dataset is given, got "
                f"{item['path']!r}. Keep one of the two."
            )
        options = {k: v for k, v in item.items() if k not in ("name", "dataset")}
        layout, colon, place = item["dataset"].partition(":")
        spec = f"{layout}:{file.parent / place}" if colon else layout
        return PictureData(item.get("name", default_name(spec)), spec, options)
    if not item.get("path"):
        raise InputError(
            f"{file}: {key}.path must be given, got none. Name the embeddings, or a dataset."
        )
    placed = {
        name: value if name == "name" or value == BUNDLED else str(file.parent / value)
        for name, value in item.items()
    }
    return EmbeddingData(**{"name": Path(item["path"]).stem, **placed})


def _encoder(file: Path, number: int, item: Any) -> EncoderModel:
    """Return one model: KIND:MODEL, or a table; a folder that exists is relative to the file."""
    key = f"encoder[{number}]"
    if isinstance(item, str):
        item = {"model": item}
    _check_type(file, key, item, dict)
    if not item.get("model"):
        raise InputError(
            f"{file}: {key}.model must be given, got none. Write KIND:MODEL, for example "
            "clip:openai/clip-vit-large-patch14."
        )
    for name in ("name", "model"):
        if name in item:
            _check_type(file, f"{key}.{name}", item[name], str)
    kind, colon, place = item["model"].partition(":")
    local = file.parent / place
    spec = f"{kind}:{local}" if colon and local.is_dir() else item["model"]
    options = {k: v for k, v in item.items() if k not in ("name", "model")}
    return EncoderModel(item.get("name", default_name(spec)), spec, options)


def _representation(file: Path, number: int, item: Any) -> Representation:
    """Return one representation: the name of a method, or a table."""
    key = f"representation[{number}]"
    if isinstance(item, str):
        item = {"method": item}
    _check_type(file, key, item, dict)
    for name in ("name", "method", "fitted_on"):
        if name in item:
            _check_type(file, f"{key}.{name}", item[name], str)
    rest = {k: v for k, v in item.items() if k not in ("name", "method", "fitted_on")}
    method = None if item.get("method") in (None, "raw") else item["method"]
    try:
        return Representation(
            name=item.get("name", method or "raw"),
            method=method,
            parameters=rest,
            fitted_on=item.get("fitted_on", "separate"),
        )
    except (InputError, InputTypeError) as error:
        raise InputError(f"{file}: {key}: {error}") from error


def _check_key(file: Path, name: str, known: tuple[str, ...], inside: str = "") -> None:
    if name not in known:
        near = get_close_matches(name, known, n=1)
        remedy = f"Did you mean {near[0]}?" if near else "Check its spelling."
        place = f"{inside}.{name}" if inside else name
        raise InputError(
            f"{file}: {place} must be one of the keys {', '.join(known)}, got {name!r}. {remedy}"
        )


def _check_type(file: Path, key: str, value: Any, kind: type | tuple[type, ...]) -> None:
    words = {str: "a string", int: "a whole number", list: "a list", dict: "a table"}
    if not isinstance(value, kind) or isinstance(value, bool):
        raise InputError(
            f"{file}: {key} must be {words[kind]}, got {value!r:.60}. "  # type: ignore[index]
            "Write it so."
        )

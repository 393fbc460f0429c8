"""What an experiment is, data × encoders × representations × measures, in Python or in TOML."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final

from fillgap.aligners.methods import make_aligner
from fillgap.errors import InputError, InputTypeError, check_choice, check_integer
from fillgap.files import missing_path
from fillgap.io.names import reading
from fillgap.metrics.table import MEASURES, Measure

#: The path of the scenes that come with the package.
BUNDLED: Final = "digit-scenes"
#: The method that `compare` recommends among the two of this project, on the separate rows.
RECOMMENDED: Final = "recommended"
#: The Fréchet distance of vectors at the length that they are given in, as papers compute it.
AS_GIVEN: Final = "frechet_distance_as_given"

#: Layouts of one dataset each, which is then a better name than that of its folder.
_DATASETS: Final = ("coco", "conceptual-captions")


@dataclass(frozen=True)
class EmbeddingData:
    """Embeddings of images and texts by one model."""

    name: str  # what tables call it
    path: str  # what `load_pair` reads, or "digit-scenes" for the scenes of the package
    texts: str | None = None  # text embeddings, where `path` holds the images alone
    separate: str | None = None  # others of the same model, to fit on; None: from `path`


@dataclass(frozen=True)
class PictureData:
    """Images with captions, which every encoder of the experiment embeds."""

    name: str  # what tables call it, with the name of the encoder behind it
    dataset: str  # LAYOUT:PATH of `fillgap.datasets.open_dataset`
    options: Mapping[str, str] | tuple[tuple[str, str], ...] = ()  # of the layout: split="val2017"

    def __post_init__(self) -> None:
        object.__setattr__(self, "options", _pairs(self.options))


@dataclass(frozen=True)
class EncoderModel:
    """A model that embeds the images and captions of `PictureData`."""

    name: str  # what tables call it
    model: str  # KIND:MODEL of `fillgap.encoders.open_encoder`
    options: Mapping[str, Any] | tuple[tuple[str, Any], ...] = ()  # for example device="cuda"

    def __post_init__(self) -> None:
        object.__setattr__(self, "options", _pairs(self.options))


@dataclass(frozen=True)
class Representation:
    """A way to map the embeddings."""

    name: str  # what tables call it
    method: str | None = None  # of `fillgap.aligners.METHODS`, or "recommended"; None: leave raw
    parameters: Mapping[str, Any] | tuple[tuple[str, Any], ...] = ()  # those that are not default
    fitted_on: str = "separate"  # or "judged": the very rows that are judged

    def __post_init__(self) -> None:
        check_choice(self.fitted_on, "fitted_on", ("separate", "judged"))
        given = dict(self.parameters)
        object.__setattr__(self, "parameters", _pairs(given))
        if self.method is not None and self.method != RECOMMENDED:
            make_aligner(self.method, **given)  # refuses unknown names
        elif given:
            raise InputError(
                f"parameters must be given with a method, got {', '.join(given)} for {self.name}. "
                "Name the method, or leave them out."
            )


@dataclass(frozen=True)
class Experiment:
    """Every representation of all data, judged by every measure.

    Attributes
    ----------
    name : str
        What the results call it.
    data : tuple of EmbeddingData or PictureData
        Names differ.
    representations : tuple of Representation
        Names differ.
    measures : tuple of str
        Names of `fillgap.metrics.MEASURES`, with the number in the place of the k
        ("mixed_recall_at_5"), or "frechet_distance_as_given".
    n_judged, n_separate : int
        Pairs to judge on, and other pairs to fit on; one text for each image. Data with fewer rows
        are divided in this proportion.
    random_state : int
        Seed of what is drawn.
    encoders : tuple of EncoderModel
        What embeds each `PictureData`; names differ.

    Raises
    ------
    InputError
        If a measure is unknown, a name appears twice, there is nothing to compute, or pictures and
        encoders are not both there.
    """

    name: str
    data: tuple[EmbeddingData | PictureData, ...]
    representations: tuple[Representation, ...]
    measures: tuple[str, ...]
    n_judged: int = 2500
    n_separate: int = 5000
    random_state: int = 0
    encoders: tuple[EncoderModel, ...] = ()

    def __post_init__(self) -> None:
        for what in ("data", "representations", "measures", "encoders"):
            items = tuple(getattr(self, what))
            object.__setattr__(self, what, items)
            names = [getattr(item, "name", item) for item in items]
            if (not names and what != "encoders") or len(set(names)) < len(names):
                got = f"{max(names, key=names.count)!r} twice" if names else "none"
                raise InputError(f"{what} must be one or more of different names, got {got}.")
        pictures = [item.name for item in self.data if isinstance(item, PictureData)]
        if bool(pictures) != bool(self.encoders):
            here, missing = ("pictures", "encoder") if pictures else ("encoders", "dataset")
            raise InputError(
                f"{here} must be given with the {missing} that they need, got none. "
                f"Name the {missing}."
            )
        names = [item.name for item in self.data if isinstance(item, EmbeddingData)]
        names += [f"{name} {model.name}" for name in pictures for model in self.encoders]
        if len(set(names)) < len(names):
            twice = max(names, key=names.count)
            raise InputError(f"names of data must differ, got {twice!r} twice. Rename one.")
        check_integer(self.n_judged, "n_judged", low=4)
        check_integer(self.n_separate, "n_separate", low=0)
        check_integer(self.random_state, "random_state", low=0)
        for measure in self.measures:
            find_measure(measure)

    def to_dict(self) -> dict[str, Any]:
        """Return it as what JSON holds."""
        plain = asdict(self)
        for item in (*plain["data"], *plain["encoders"], *plain["representations"]):
            for key in {"options", "parameters"} & item.keys():
                item[key] = dict(item[key])
        return plain


def _pairs(given: Any) -> tuple[tuple[str, Any], ...]:
    """Return options or parameters as what can be hashed and compared."""
    plain = {k: tuple(v) if isinstance(v, list) else v for k, v in dict(given).items()}
    return tuple(sorted(plain.items()))


def embedded_name(pictures: PictureData, model: EncoderModel) -> str:
    """Return what tables call pictures that a model has embedded."""
    return f"{pictures.name} {model.name}"


def default_name(spec: str) -> str:
    """Return what tables call a dataset or a model that was given without a name.

    Examples
    --------
    >>> default_name("clip:openai/clip-vit-large-patch14"), default_name("folder:my/photos")
    ('clip-vit-large-patch14', 'photos')
    >>> default_name("coco:/data/annotations/captions_train2017.json")
    'coco'
    """
    kind, _, place = spec.partition(":")
    return kind if kind in _DATASETS or not place else Path(place).name


def find_measure(name: str) -> tuple[Measure, dict[str, Any]]:
    """Return the measure behind a name, and the parameters that the name holds.

    Examples
    --------
    >>> measure, parameters = find_measure("mixed_recall_at_20")
    >>> measure.name, parameters
    ('mixed_recall_at_k', {'k': 20})
    """
    if name == AS_GIVEN:
        return MEASURES["frechet_distance"], {"unit": False}
    match = re.fullmatch(r"(\w+_at_)([1-9]\d{0,2})", str(name))
    base = f"{match[1]}k" if match else name
    if base not in MEASURES or ("_at_k" in base and not match):
        known = [key for entry in MEASURES.values() for key, _ in entry.variants()] + [AS_GIVEN]
        near = get_close_matches(str(name), known, n=3)
        remedy = f"Did you mean {' or '.join(near)}?" if near else f"There are {', '.join(known)}."
        raise InputError(f"a measure must be one of the table of measures, got {name!r}. {remedy}")
    return MEASURES[base], {"k": int(match[2])} if match else {}


_KEYS: Final[dict[str, type | tuple[type, ...]]] = {
    "name": str, "data": list, "encoder": list, "representation": list, "measures": list,
    "n_judged": int, "n_separate": int, "random_state": int,
}  # fmt: skip
_DATA: Final = tuple(item.name for item in fields(EmbeddingData))


def read_experiment(path: str | Path) -> Experiment:
    """Return the experiment that a TOML file describes.

    Paths are relative to the folder of the file. In `[[representation]]` what is not `name`,
    `method` or `fitted_on` is a parameter of the method; in `[[data]]` with a `dataset`, and in
    `[[encoder]]`, what is not `name`, `dataset` or `model` is an option. A refusal begins with the
    file and the key.
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

    def entries(key: str, read: Callable[[Path, str, Any], Any]) -> list[Any]:
        return [read(file, f"{key}[{i}]", item) for i, item in enumerate(document.get(key, []))]

    data, models = entries("data", _data), entries("encoder", _encoder)
    ways = entries("representation", _representation)
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


def _as_table(file: Path, key: str, item: Any, single: str, strings: tuple[str, ...]) -> Any:
    """Return an entry as a table, also where it is one string; some of its keys are strings."""
    if isinstance(item, str):
        item = {single: item}
    _check_type(file, key, item, dict)
    for name in strings or item:
        if name in item:
            _check_type(file, f"{key}.{name}", item[name], str)
    return item


def _data(file: Path, key: str, item: Any) -> EmbeddingData | PictureData:
    if isinstance(item, dict) and "dataset" not in item:
        for name in item:
            _check_key(file, name, (*_DATA, "dataset"), key)
    item = _as_table(file, key, item, "path", ())
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


def _encoder(file: Path, key: str, item: Any) -> EncoderModel:
    """Return one model; a folder that exists is relative to the file."""
    item = _as_table(file, key, item, "model", ("name", "model"))
    if not item.get("model"):
        raise InputError(
            f"{file}: {key}.model must be given, got none. Write KIND:MODEL, for example "
            "clip:openai/clip-vit-large-patch14."
        )
    kind, colon, place = item["model"].partition(":")
    local = file.parent / place
    spec = f"{kind}:{local}" if colon and local.is_dir() else item["model"]
    options = {k: v for k, v in item.items() if k not in ("name", "model")}
    return EncoderModel(item.get("name", default_name(spec)), spec, options)


def _representation(file: Path, key: str, item: Any) -> Representation:
    own = ("name", "method", "fitted_on")
    item = _as_table(file, key, item, "method", own)
    method = None if item.get("method") in (None, "raw") else item["method"]
    try:
        return Representation(
            name=item.get("name", method or "raw"),
            method=method,
            parameters={k: v for k, v in item.items() if k not in own},
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

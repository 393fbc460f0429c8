"""Documents and queries on their way in: checked, normalised, turned into the vectors of fields."""

from __future__ import annotations

import json
import secrets
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from fillgap.calibration.base import Modality
from fillgap.errors import InputError, InputTypeError, check_choice, check_matrix, unit_rows
from fillgap.files import atomic_file, check_target, missing_path
from fillgap.search.backend import Backend
from fillgap.space import MixedSpace

Array = NDArray[np.float32]
Rows = Mapping[Modality, Any]

RAW, ALIGNED = "raw", "aligned"
#: Fields with the stored vectors for queries of each modality.
_FOR: dict[Modality, str] = {"image": "for_image_queries", "text": "for_text_queries"}
_SIDE = {"image": "images", "text": "texts"}
_LONGEST_ID = 1024
#: Levels of a payload.
_DEEPEST = 64
#: On the line from the mean text to the mean image, at 0 and 1: beyond this it is the other side.
_OTHER_SIDE, _LEAST_GAP = 0.2, 0.1


def fields_of(space: MixedSpace) -> dict[str, int]:
    """Return the dimension of each column that an index of this space keeps.

    `raw` always; `aligned` with an aligner; one stored vector for each query modality where a
    calibration folds.
    """
    fields = {RAW: space.n_features}
    if space.aligner is not None:
        fields[ALIGNED] = space.n_components
    if space.calibration is not None and space.folds:
        fields |= dict.fromkeys(_FOR.values(), space.n_components + 1)
    return fields


def vectors(space: MixedSpace, rows: Rows) -> dict[str, Array]:
    """Return what each column keeps of documents; one of both kinds keeps the mean of its halves.

    Its product with a query is then the mean of the scores of its image and its text.
    """
    aligned = {side: space.align_documents(part, side) for side, part in rows.items()}
    found = {RAW: _mean([unit_rows(part, _SIDE[side]) for side, part in rows.items()])}
    for name in fields_of(space):
        if name == ALIGNED:
            found[name] = _mean(list(aligned.values()))
        for query, column in _FOR.items():
            if name == column:
                found[name] = _mean(
                    [
                        space.stored_aligned(part, document=side, query=query)
                        for side, part in aligned.items()
                    ]
                )
    return found


def stored_field(query: Modality) -> str:
    """Return the column with the stored vectors for queries of one modality."""
    return _FOR[query]


def _mean(parts: Sequence[Any]) -> Array:
    total = parts[0] if len(parts) == 1 else sum(parts) / np.float32(len(parts))
    return np.ascontiguousarray(total, dtype=np.float32)


def check_rows(
    space: MixedSpace, rows: Any, side: Modality, *, check_side: bool, what: str | None = None
) -> Any:
    """Return a checked matrix of one modality; `what` are its rows, images or texts if left out.

    Raises
    ------
    InputError
        If the dimension is another than that of the space, a row is zero or not finite, or the
        rows lie where the embeddings of the other modality lie.
    """
    what = what or _SIDE[side]
    matrix = check_matrix(rows, what)
    if matrix.shape[1] != space.n_features:
        raise InputError(
            f"{what} must be of dimension {space.n_features}, as in this index, got "
            f"{matrix.shape[1]}. Use embeddings of the model that the index was built for."
        )
    if check_side:
        _check_side(space, unit_rows(matrix[:8192], what), side, what)
    return matrix


def _check_side(space: MixedSpace, unit: Any, side: Modality, what: str) -> None:
    """Refuse rows that lie, along the gap, on the side of the other modality."""
    if space.aligner is None:
        return
    image_mean, text_mean = (
        np.asarray(mean, dtype=np.float64)
        for mean in (space.aligner.mean_x_, space.aligner.mean_y_)
    )
    gap = image_mean - text_mean
    if gap @ gap < _LEAST_GAP**2:
        return
    place = float((unit.mean(axis=0) - text_mean) @ gap / (gap @ gap))
    own = place if side == "image" else 1 - place
    if own < _OTHER_SIDE:
        other = "text" if side == "image" else "image"
        remedy = f"Pass them as {_SIDE[other]}"
        if what != _SIDE[side]:
            remedy = f"Ask with {other} queries (--vector-modality {other})"
        raise InputError(
            f"{what} must be {side} embeddings, got some that lie where {other} embeddings of this "
            f"model lie. {remedy}; if it is right as it is, Python takes check_side=False."
        )


def check_ids(ids: Sequence[str], n: int | None = None, *, distinct: bool = True) -> list[str]:
    """Return n printable names, or as many as there are."""
    ordered = isinstance(ids, Iterable) and not isinstance(ids, str | set | frozenset)
    listed = list(ids) if ordered else []
    if not ordered or not all(isinstance(identity, str) for identity in listed):
        raise InputTypeError("ids must be a list of strings, got something else. Pass one a row.")
    if n is not None and len(listed) != n:
        raise InputError(
            f"ids must be one for each of the {n} documents, got {len(listed)}. "
            "Pass them in the order of the rows."
        )
    for identity in listed:
        if not 0 < len(identity) <= _LONGEST_ID or "\0" in identity or not _is_unicode(identity):
            raise InputError(
                f"an id must be 1 to {_LONGEST_ID} characters of text without NUL, got "
                f"{identity[:40]!r}. Choose another name."
            )
    if distinct and len(set(listed)) < len(listed):
        seen: set[str] = set()
        twice = next(i for i in listed if i in seen or seen.add(i))  # type: ignore[func-returns-value]
        raise InputError(f"ids must be distinct, got {twice!r} twice. Name each document once.")
    return listed


def check_model(model: str | None, own: str | None) -> None:
    """Refuse embeddings of another model than that of the index."""
    if model is not None and own is not None and model != own:
        raise InputError(
            f"embeddings must be of the model of the index, {own!r}, got {model!r}. "
            "Embed with that model, or build another index."
        )


def encode_payloads(payloads: Sequence[Mapping[str, Any]] | None, n: int) -> list[str]:
    """Return each payload as JSON."""
    if payloads is None:
        return ["{}"] * n
    if isinstance(payloads, str) or not isinstance(payloads, Sequence):
        raise InputTypeError("payloads must be a list of mappings, got another. Pass one a row.")
    if len(payloads) != n:
        raise InputError(
            f"payloads must be one for each of the {n} documents, got {len(payloads)}. "
            "Pass them in the order of the rows; {} is an empty one."
        )
    if not all(isinstance(payload, Mapping) for payload in payloads):
        raise InputTypeError("payloads must be mappings, got something else. Pass dicts.")
    encoded = []
    for payload in payloads:
        try:
            text = json.dumps(dict(payload), allow_nan=False)
        except (TypeError, ValueError, RecursionError) as error:
            raise InputError(
                f"payloads must be what JSON can hold, got {error}. Convert dates, arrays and NaN."
            ) from error
        # Deeper ones are JSON, but no answer of a server can be made of them.
        if text.count("{") + text.count("[") > _DEEPEST and _depth(payload) > _DEEPEST:
            raise InputError(
                f"payloads must be of at most {_DEEPEST} levels, got more. Keep what hits show."
            )
        encoded.append(text)
    return encoded


def _depth(value: Any) -> int:
    inner = value.values() if isinstance(value, Mapping) else value
    if isinstance(value, str) or not isinstance(inner, Iterable):
        return 0
    return 1 + max(map(_depth, inner), default=0)


def _is_unicode(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


FORMAT_VERSION = 1

#: Engines by name: the module of the adapter, and its class.
BACKENDS = {
    "exact": ("fillgap.search.exact", "ExactBackend"),
    "qdrant-edge": ("fillgap.search.qdrant_edge", "QdrantEdgeBackend"),
    "lancedb": ("fillgap.search.lancedb", "LanceDBBackend"),
    "pgvector": ("fillgap.search.pgvector", "PgvectorBackend"),
}
_FILE = "manifest.json"
#: Of what type each part of it is.
_TYPES = {
    "backend": str, "fields": dict, "fingerprint": str, "name": str, "notes": list,
    "options": dict,
}  # fmt: skip


@dataclass(frozen=True)
class Manifest:
    """What describes an index.

    Attributes
    ----------
    backend : str
        Name of the engine.
    fields : dict of str to int
        Dimension of each field.
    fingerprint : str
        That of the space.
    model, encoder : str or None
        The model behind the embeddings, and how to open it for queries.
    name : str
        What pages call the collection.
    notes : list of str
        What was decided when it was built, for its users.
    options : dict
        Options of the engine.
    """

    backend: str
    fields: dict[str, int]
    fingerprint: str
    model: str | None = None
    encoder: str | None = None
    name: str = "index"
    notes: list[str] = field(default_factory=list)
    options: dict[str, Any] = field(default_factory=dict)
    format_version: int = FORMAT_VERSION
    kind: str = "index"

    def write(self, folder: Path) -> None:
        """Write the description."""
        content = asdict(self)
        with atomic_file(folder / _FILE) as temporary:
            temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")

    def checked(self) -> Manifest:
        """Return it if every part is of its type, or raise TypeError: anything may be given."""
        for name, kind in _TYPES.items():
            if not isinstance(getattr(self, name), kind):
                raise TypeError(f"{name} is no {kind.__name__}")
        for name in ("model", "encoder"):
            if not isinstance(getattr(self, name), str | None):
                raise TypeError(f"{name} is no str")
        if not all(isinstance(note, str) for note in self.notes):
            raise TypeError("a note is no str")
        return self

    @classmethod
    def read(cls, folder: Path) -> Manifest:
        """Read the description of an index.

        Raises
        ------
        InputError
            If there is none, or it is damaged or of a newer version.
        """
        path = folder / _FILE
        if not folder.exists():
            raise missing_path(folder)
        if not path.is_file():
            raise InputError(
                f"{folder} must be an index, got something without a {_FILE}. "
                "Pass the folder that fillgap index wrote."
            )
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            version = content["format_version"]
            if content["kind"] == "index" and version <= FORMAT_VERSION:
                return cls(**content).checked()
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise InputError(
                f"{path} must be a whole description of an index, got one that cannot be read "
                f"({str(error).partition(chr(10))[0]}). Build the index again."
            ) from error
        raise InputError(
            f"{folder} must be an index of version {FORMAT_VERSION} or older, got "
            f"{content['kind']!r} of version {version}. Upgrade fillgap, or pass another folder."
        )


def open_backend(
    name: str,
    folder: Path,
    fields: Mapping[str, int],
    options: Mapping[str, Any],
    *,
    create: bool = False,
) -> Backend:
    """Return the engine of that name over the vectors of an index, which are there or are made."""
    module, cls = BACKENDS[check_choice(name, "backend", tuple(BACKENDS))]
    try:
        engine = getattr(import_module(module), cls)
        return cast("Backend", engine(folder, fields, create=create, **options))
    except TypeError as error:
        if "unexpected keyword argument" not in str(error):
            raise
        raise InputTypeError(
            f"options of the backend {name!r} must be known to it, got "
            f"{', '.join(map(repr, options))}. Leave them out."
        ) from error


@contextmanager
def new_folder(target: str | Path, *, overwrite: bool) -> Iterator[Path]:
    """Yield a hidden folder beside `target` that takes its place at the end, in one step.

    Only an index is ever replaced, never another folder. Nothing is left when the body fails.
    """
    path = check_target(target, overwrite=overwrite)
    if path.exists():
        Manifest.read(path)
    final = path.resolve()
    temporary = final.with_name(f".fillgap-{secrets.token_hex(6)}.tmp")
    old = final.with_name(f".fillgap-{secrets.token_hex(6)}.old")
    try:
        temporary.mkdir()
        yield temporary
        if final.exists():
            final.rename(old)
        temporary.rename(final)
    except OSError as error:
        raise InputError(
            f"{target} must be writable, got {error.strerror or error!s}. "
            "Free space or choose another folder; no half-written index is left."
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)

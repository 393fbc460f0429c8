"""What an index keeps: documents, checked and turned into the vectors of fields; a description."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fillgap.calibration.base import Modality
from fillgap.errors import InputError, InputTypeError, check_matrix, unit_rows
from fillgap.files import atomic_file, missing_path
from fillgap.space import MixedSpace

RAW, ALIGNED = "raw", "aligned"
#: Fields with the stored vectors for queries of each modality.
STORED: dict[Modality, str] = {"image": "for_image_queries", "text": "for_text_queries"}
_SIDE = {"image": "images", "text": "texts"}
_LONGEST_ID = 1024
#: What no id may hold: NUL, and what is no character of text.
_UNFIT = re.compile(r"[\0\ud800-\udfff]")
#: Levels of a payload.
_DEEPEST = 64
#: On the line from the mean text to the mean image, at 0 and 1: beyond this it is the other side.
_OTHER_SIDE, _LEAST_GAP = 0.2, 0.1
#: Rows from whose mean it is told on which side a batch lies.
_TOLD_BY = 8192


def fields_of(space: MixedSpace) -> dict[str, int]:
    """Return the dimension of each column that an index of this space keeps."""
    fields = {RAW: space.n_features}
    if space.aligner is not None:
        fields[ALIGNED] = space.n_components
    if space.calibration is not None and space.folds:
        fields |= dict.fromkeys(STORED.values(), space.n_components + 1)
    return fields


def vectors(space: MixedSpace, rows: Mapping[Modality, Any]) -> dict[str, NDArray[np.float32]]:
    """Return what each column keeps of documents; one of both kinds keeps the mean of its halves.

    Its product with a query is then the mean of the scores of its image and its text.
    """
    aligned = {side: space.align_documents(part, side) for side, part in rows.items()}
    kept = {RAW: mean_rows([unit_rows(part, _SIDE[side]) for side, part in rows.items()])}
    fields = fields_of(space)
    if ALIGNED in fields:
        kept[ALIGNED] = mean_rows(list(aligned.values()))
    for query, name in STORED.items():
        if name in fields:
            halves = [space.stored_aligned(aligned[s], document=s, query=query) for s in aligned]
            kept[name] = mean_rows(halves)
    return kept


def mean_rows(parts: Sequence[Any]) -> NDArray[np.float32]:
    """Return the mean of one or two matrices, row by row."""
    total = parts[0] if len(parts) == 1 else sum(parts) / np.float32(len(parts))
    return np.ascontiguousarray(total, dtype=np.float32)


def check_rows(
    space: MixedSpace, rows: Any, side: Modality, *, queries: bool = False, check_side: bool = True
) -> Any:
    """Return rows of the dimension of a space that lie, along its gap, on the side they are of.

    Of documents the mean of the first tells, of queries each one.
    """
    what = f"{side} queries" if queries else _SIDE[side]
    matrix = check_matrix(rows, what)
    if matrix.shape[1] != space.n_features:
        raise InputError(
            f"{what} must be of dimension {space.n_features}, as in this index, got "
            f"{matrix.shape[1]}. Use embeddings of the model that the index was built for."
        )
    if space.aligner is None or not check_side:
        return matrix
    image_mean, text_mean = (
        np.asarray(mean, dtype=np.float64)
        for mean in (space.aligner.mean_x_, space.aligner.mean_y_)
    )
    gap = image_mean - text_mean
    if gap @ gap < _LEAST_GAP**2:
        return matrix
    unit = unit_rows(matrix if queries else matrix[:_TOLD_BY], what)
    along = (unit - text_mean) @ gap / (gap @ gap)  # 0 at the mean text, 1 at the mean image
    own = along if side == "image" else 1 - along
    if (own.min() if queries else own.mean()) >= _OTHER_SIDE:
        return matrix
    other = "text" if side == "image" else "image"
    remedy = f"Pass them as {_SIDE[other]}"
    if queries:
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
        if not 0 < len(identity) <= _LONGEST_ID or _UNFIT.search(identity):
            raise InputError(
                f"an id must be 1 to {_LONGEST_ID} characters of text without NUL, got "
                f"{identity[:40]!r}. Choose another name."
            )
    if distinct and len(set(listed)) < len(listed):
        twice = next(identity for identity, times in Counter(listed).items() if times > 1)
        raise InputError(f"ids must be distinct, got {twice!r} twice. Name each document once.")
    return listed


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


FORMAT_VERSION = 1

_FILE = "manifest.json"
#: Of what type each part of a description is.
_TYPES: dict[str, Any] = {
    "backend": str, "fields": dict, "fingerprint": str, "name": str, "notes": list,
    "options": dict, "model": (str, type(None)), "encoder": (str, type(None)),
}  # fmt: skip


@dataclass(frozen=True)
class Manifest:
    """What describes an index."""

    backend: str  # name of the engine
    fields: dict[str, int]  # their dimensions
    fingerprint: str  # of the space
    model: str | None = None  # behind the embeddings
    encoder: str | None = None  # how to open it for queries
    name: str = "index"  # what pages call the collection
    notes: list[str] = field(default_factory=list)  # what was decided when it was built
    options: dict[str, Any] = field(default_factory=dict)  # of the engine
    format_version: int = FORMAT_VERSION
    kind: str = "index"

    def write(self, folder: Path) -> None:
        """Write the description."""
        with atomic_file(folder / _FILE) as temporary:
            temporary.write_text(json.dumps(asdict(self), indent=1) + "\n", encoding="utf-8")

    def checked(self) -> Manifest:
        """Return it if every part is of its type, or raise TypeError: anything may be given."""
        for name, kind in _TYPES.items():
            if not isinstance(getattr(self, name), kind):
                raise TypeError(f"{name} is no {getattr(kind, '__name__', 'str')}")
        if not all(isinstance(note, str) for note in self.notes):
            raise TypeError("a note is no str")
        return self

    @classmethod
    def read(cls, folder: Path) -> Manifest:
        """Read the description of an index, or refuse one that is missing, damaged or newer."""
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

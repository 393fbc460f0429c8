"""The folder of an index: what describes it, and how it appears in one step."""

from __future__ import annotations

import json
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, cast

from fillgap._checks import InputError, InputTypeError, check_choice
from fillgap._files import atomic_file, check_target, missing_path
from fillgap.search._backend import Backend

__all__ = ["BACKENDS", "Manifest", "new_folder", "open_backend"]

FORMAT_VERSION = 1

#: Engines by name: the module of the adapter, and its class.
BACKENDS = {
    "exact": ("fillgap.search._exact", "ExactBackend"),
    "qdrant-edge": ("fillgap.search._qdrant_edge", "QdrantEdgeBackend"),
    "lancedb": ("fillgap.search._lancedb", "LanceDBBackend"),
    "pgvector": ("fillgap.search._pgvector", "PgvectorBackend"),
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

"""Making an index, of vectors at hand or of embeddings on disk, and opening one."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any, cast

import numpy as np

from fillgap.aligners.centring import MeanCentering
from fillgap.calibration.base import Modality, Sides
from fillgap.calibration.hubness import NNN
from fillgap.calibration.pairwise import ZScore
from fillgap.encoders.base import ENCODERS
from fillgap.errors import InputError, InputTypeError, check_choice, check_flag, check_matrix
from fillgap.files import check_target
from fillgap.io.pairs import open_pair
from fillgap.pair import iter_blocks
from fillgap.runtime import Progress, silent
from fillgap.search.backend import Backend
from fillgap.search.documents import Manifest, fields_of
from fillgap.search.index import MixedIndex
from fillgap.space import MixedSpace, load_space, save_space

#: Engines by name: the module of the adapter, and its class.
BACKENDS = {
    "exact": ("fillgap.search.exact", "ExactBackend"),
    "qdrant-edge": ("fillgap.search.qdrant_edge", "QdrantEdgeBackend"),
    "lancedb": ("fillgap.search.lancedb", "LanceDBBackend"),
    "pgvector": ("fillgap.search.pgvector", "PgvectorBackend"),
}
_SPACE, _VECTORS = "space.safetensors", "vectors"
#: Documents added at a time: 4 fields of 512 float32 are 128 MB.
_BATCH = 16_384
#: Rows of each side that the calibration is fitted to, at even distances.
_SAMPLE = 4096


def create_index(path: str | Path, space: MixedSpace, **parameters: Any) -> MixedIndex:
    """Make an empty index and open it.

    Parameters
    ----------
    path : str or path
        The folder that should exist afterwards.
    space : MixedSpace
        Kept with the index.
    backend : {"exact", "qdrant-edge", "lancedb", "pgvector"}
        The engine: exact search in NumPy, the default; Qdrant or LanceDB in this program; a
        PostgreSQL server with pgvector.
    encoder : str, optional
        How `open_encoder` opens the encoder of queries, for example "digit-scenes".
    model : str, optional
        The model behind the embeddings, where the space does not say it.
    name : str
        What pages call the collection; "index" by default.
    notes : sequence of str
        What its users should know.
    overwrite : bool
        Whether an index that exists may be replaced. Another folder never is.
    **parameters
        Options of the engine; the exact one has none. `exact=True`: search without graphs.
        pgvector: `server`, a connection string of libpq, whose password is not kept; what it leaves
        out is taken from PGHOST, PGPASSWORD and the like.

    Raises
    ------
    InputError
        If the folder exists or cannot be written, or the engine refuses.
    """
    known = {"backend", "encoder", "model", "name", "notes", "overwrite"}
    with new_index(path, space, **parameters):
        pass
    return open_index(path, **{key: parameters[key] for key in parameters.keys() - known})


@contextmanager
def new_index(
    path: str | Path,
    space: MixedSpace,
    *,
    backend: str = "exact",
    encoder: str | None = None,
    model: str | None = None,
    name: str = "index",
    notes: Sequence[str] = (),
    overwrite: bool = False,
    **options: Any,
) -> Iterator[MixedIndex]:
    """Yield an index to be filled, which appears at `path` when the block ends without error.

    Until then an index that is to be replaced stays in place and in use; when the block fails,
    nothing is left. Parameters and errors are those of `create_index`.
    """
    check_flag(overwrite, "overwrite")
    _check_space(space)
    if encoder is not None:  # whose weights need not be here yet
        check_choice(str(encoder).partition(":")[0], "the encoder", tuple(ENCODERS))
    if isinstance(notes, str) or not isinstance(notes, Sequence):
        raise InputTypeError(f"notes must be a list of texts, got {notes!r}. Pass one a line.")
    if model is not None and space.model is not None and model != space.model:
        raise InputError(
            f"the space must be of the model of the embeddings, {model!r}, got {space.model!r}. "
            "Fit a space for that model."
        )
    manifest = Manifest(
        backend, fields_of(space), space.fingerprint, space.model or model, encoder, name,
        list(notes), dict(options),
    )  # fmt: skip
    try:
        manifest.checked()
    except TypeError as error:
        raise InputTypeError(
            f"what describes an index must be text, got something else ({error}). "
            "Pass strings for backend, model, name and notes."
        ) from error
    path = _folder(path)
    replaced = None
    if overwrite and path.is_dir():
        old = Manifest.read(path)
        if "server" in old.options:  # which keeps vectors outside of the folder
            server = {key: options[key] for key in ("server",) if key in options}
            replaced = _engine(replace(old, options={**old.options, **server}), path)
    with _new_folder(path, overwrite=overwrite) as folder:
        save_space(space, folder / _SPACE)
        engine = _engine(manifest, folder, create=True)
        manifest = replace(manifest, options={**options, **engine.kept_options})
        manifest.write(folder)
        try:
            yield MixedIndex(folder, space, manifest, engine)
            engine.optimise()
        except BaseException:
            engine.drop()
            raise
        finally:
            engine.close()
    if replaced is not None:
        replaced.drop()
        replaced.close()


@contextmanager
def _new_folder(target: Path, *, overwrite: bool) -> Iterator[Path]:
    """Yield a hidden folder beside `target` that takes its place at the end, in one step.

    Only an index is ever replaced, never another folder. Nothing is left when the body fails.
    """
    if check_target(target, overwrite=overwrite).exists():
        Manifest.read(target)
    final = target.resolve()
    hidden = final.with_name(f".fillgap-{secrets.token_hex(6)}")
    temporary, old = (hidden.with_suffix(suffix) for suffix in (".tmp", ".old"))
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


def _engine(manifest: Manifest, folder: Path, *, create: bool = False) -> Backend:
    """Return the engine over the vectors of an index, which are there or are made."""
    name, options = manifest.backend, manifest.options
    module, cls = BACKENDS[check_choice(name, "backend", tuple(BACKENDS))]
    try:
        engine = getattr(import_module(module), cls)
        return cast("Backend", engine(folder / _VECTORS, manifest.fields, create=create, **options))
    except TypeError as error:
        if "unexpected keyword argument" not in str(error):
            raise
        raise InputTypeError(
            f"options of the backend {name!r} must be known to it, got "
            f"{', '.join(map(repr, options))}. Leave them out."
        ) from error


def _check_space(space: object) -> None:
    if not isinstance(space, MixedSpace):
        raise InputTypeError(
            f"the space must be a MixedSpace, got {type(space).__name__}. "
            "Load one with load_space, or make one of an aligner: MixedSpace(aligner)."
        )


def _folder(path: str | Path) -> Path:
    if not isinstance(path, str | Path) or "\0" in str(path):
        raise InputTypeError(
            f"the path of an index must name a folder, got {path!r}. Pass a string or a Path."
        )
    return Path(path)


def open_index(path: str | Path, *, space: MixedSpace | None = None, **options: Any) -> MixedIndex:
    """Open an index that exists.

    Parameters
    ----------
    path : str or path
    space : MixedSpace, optional
        The space that the caller means; an index of another one is refused.
    **options
        Of the engine.

    Raises
    ------
    InputError
        If it is no index, is damaged, is of another space, or its server cannot be reached.
    """
    folder = _folder(path)
    if space is not None:
        _check_space(space)
    manifest = Manifest.read(folder)
    kept = load_space(folder / _SPACE)
    for candidate, whose in ((kept, "beside it"), (space, "given")):
        if candidate is not None and candidate.fingerprint != manifest.fingerprint:
            raise InputError(
                f"{folder} must be searched with the space that it was built with "
                f"({manifest.fingerprint[:12]}), got another one {whose} "
                f"({candidate.fingerprint[:12]}). Build the index again with that space."
            )
    if fields_of(kept) != manifest.fields:
        raise InputError(
            f"{folder} must have the fields {fields_of(kept)}, got {manifest.fields}. "
            "The description is damaged: build the index again."
        )
    engine = _engine(replace(manifest, options={**manifest.options, **options}), folder)
    return MixedIndex(folder, kept, manifest, engine)


def index_files(
    images: str | Path,
    texts: str | Path | None,
    target: str | Path,
    *,
    space: MixedSpace | None = None,
    image_index: Any | None = None,
    captions: Any | None = None,
    model: str | None = None,
    progress: Progress | None = None,
    **parameters: Any,
) -> Mapping[str, Any]:
    """Build an index of embeddings on disk; they are read block by block and never held.

    Parameters
    ----------
    images, texts : str or path
        As for `load_pair`.
    target : str or path
        The index, which appears when it is complete.
    space : MixedSpace, optional
        Fitted to these embeddings by `fit_space` where it is left out.
    image_index, captions : optional
        As for `load_pair`: the payload of a text then names its image, and holds its words.
    model : str, optional
        The model behind the embeddings, where no space says it.
    progress : callable, optional
        Called as progress(rows done, rows in all, what).
    **parameters
        As for `create_index`.

    Returns
    -------
    mapping
        `count` by modality, `notes`, and the `fingerprint` of the space.

    Raises
    ------
    InputError
        If the embeddings cannot be read or are not those of the space, or the index cannot be
        written.
    """
    image_rows, text_rows, known = open_pair(
        images, texts, image_index=image_index, captions=captions
    )
    notes = list(parameters.pop("notes", ()))
    if space is None:
        space = fit_space(image_rows, text_rows, model=model, progress=progress)
        notes.append(
            "Aligner (mean-centering) and calibration (z-score on all after nnn) were fitted to "
            "this collection itself."
        )
    sides: dict[Modality, Any] = {"image": image_rows, "text": text_rows}
    total, done = sum(rows.shape[0] for rows in sides.values()), 0
    parameters.setdefault("name", Path(images).stem)

    def payload(side: Modality, number: int) -> dict[str, str]:
        parts = {"caption": known.get("captions"), "name": known.get(f"{side}_ids")}
        if side == "image":
            del parts["caption"]
        made = {key: "" if part is None else str(part[number]) for key, part in parts.items()}
        if side == "text" and known["paired"]:
            owner = known.get("image_index")
            made["image"] = f"image:{number if owner is None else int(owner[number])}"
        return made

    with new_index(target, space, model=model, notes=notes, **parameters) as index:
        for side, rows in sides.items():
            add = index.add_images if side == "image" else index.add_texts
            for start, block in iter_blocks(rows, side, _BATCH):
                numbers = range(start, start + len(block))
                payloads = [payload(side, number) for number in numbers]
                add([f"{side}:{number}" for number in numbers], block, payloads)
                done += len(block)
                (progress or silent)(done, total, "indexing")
        return {"count": index.count(), "notes": notes, "fingerprint": space.fingerprint}


def fit_space(
    images: Any, texts: Any, *, model: str | None = None, progress: Progress | None = None
) -> MixedSpace:
    """Fit the default aligner and calibration to a collection, unpaired.

    The means are taken over all rows in a stream. Hubs are corrected, and scores brought to one
    scale, by a sample of at most 4096 rows of each side, asked of one another. This is what does
    well without pairs and however small the collection; `recommend` finds better with pairs. An
    aligner with more to learn fits the collection closer than any query that is new, and a
    calibration that is fitted to the same rows then hides the other modality.

    Parameters
    ----------
    images, texts : array or `RowSource`
    model : str, optional
        Kept with the space.
    progress : callable, optional
    """
    images, texts = (
        side if hasattr(side, "iter_blocks") else check_matrix(side, what)
        for side, what in ((images, "images"), (texts, "texts"))
    )
    aligner = MeanCentering().fit(images, texts, progress=progress)
    parts = []
    for rows, what in ((images, "images"), (texts, "texts")):
        wanted = np.unique(np.linspace(0, rows.shape[0] - 1, _SAMPLE).astype(int))
        blocks = []
        for start, block in iter_blocks(rows, what):
            low, high = np.searchsorted(wanted, (start, start + len(block)))
            blocks.append(np.array(block[wanted[low:high] - start]))
        parts.append(np.concatenate(blocks))
    sample = Sides(aligner.transform(parts[0]), aligner.transform_y(parts[1]))
    calibration = ZScore(on="all", after=NNN()).fit(sample, sample, progress=progress)
    return MixedSpace(aligner, calibration, model=model)

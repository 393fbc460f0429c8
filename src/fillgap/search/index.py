"""One index of images and texts that is asked by either."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, Self, cast, get_args

import numpy as np

from fillgap._checks import InputError, check_choice, check_integer, check_same_count
from fillgap.scores import Modality
from fillgap.search._backend import MODALITIES, Backend, Batch, Found, Kind
from fillgap.search._documents import (
    check_ids,
    check_rows,
    encode_payloads,
    fields_of,
    vectors,
)
from fillgap.search._folder import Manifest, new_folder, open_backend
from fillgap.search._scoring import Stage, Scoring
from fillgap.search.hits import Hit
from fillgap.space import MixedSpace, load_space, save_space

__all__ = ["MixedIndex", "Stage"]

_SPACE, _VECTORS = "space.safetensors", "vectors"
STAGES: tuple[Stage, ...] = get_args(Stage)


class MixedIndex:
    """Images, texts, and documents of both in one index, ranked by comparable scores.

    An index is a folder: a description, the space, and the vectors of the engine. Make one with
    `create`, or `build` where it must appear only when it is complete; open one with `open`. An
    index can be searched while another program adds to it: a batch is seen whole or not at all.

    Attributes
    ----------
    path : Path
    space : MixedSpace
        What makes the modalities comparable.
    manifest : Manifest
        Engine, model, encoder, name and notes.
    stages : tuple of str
        Rankings that it can give: "raw", "aligned" and "calibrated".

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from fillgap.space import MixedSpace
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     index = MixedIndex.create(f"{folder}/index", MixedSpace(n_features=3))
    ...     index.add_images(["cat"], np.array([[1.0, 0.2, 0.0]]), [{"file": "cat.jpg"}])
    ...     index.add_texts(["dog"], np.array([[0.0, 0.1, 1.0]]))
    ...     [hit.id for hit in index.search(text=np.array([1.0, 0.0, 0.1]))]
    ['cat', 'dog']
    """

    def __init__(self, path: Path, space: MixedSpace, manifest: Manifest, backend: Backend) -> None:
        self.path, self.space, self.manifest = path, space, manifest
        self._backend = backend
        self._scoring = Scoring(space, backend)
        self.stages: tuple[Stage, ...] = self._scoring.stages

    @classmethod
    def create(
        cls,
        path: str | Path,
        space: MixedSpace,
        *,
        backend: str = "exact",
        encoder: str | None = None,
        name: str = "index",
        notes: Sequence[str] = (),
        overwrite: bool = False,
        **options: Any,
    ) -> MixedIndex:
        """Make an empty index and open it.

        Parameters
        ----------
        path : str or path
            The folder that should exist afterwards.
        space : MixedSpace
            Kept with the index. All vectors that are added, and all queries, are embeddings as
            the model gives them; the space is applied here.
        backend : {"exact", "qdrant", "lancedb", "pgvector"}
            The engine. The exact one needs nothing else.
        encoder : str, optional
            How to open the encoder of queries, for example "digit-scenes".
        name : str
            What pages call the collection.
        notes : sequence of str
            What its users should know.
        overwrite : bool
            Whether an index that exists may be replaced. Another folder never is.
        **options
            Of the engine: `dsn` for pgvector.

        Raises
        ------
        InputError
            If the folder exists or cannot be written, or the engine refuses.
        """
        with cls.build(
            path, space, backend=backend, encoder=encoder, name=name, notes=notes,
            overwrite=overwrite, **options,
        ):  # fmt: skip
            pass
        return cls.open(path, **options)

    @classmethod
    @contextmanager
    def build(
        cls,
        path: str | Path,
        space: MixedSpace,
        *,
        backend: str = "exact",
        encoder: str | None = None,
        name: str = "index",
        notes: Sequence[str] = (),
        overwrite: bool = False,
        **options: Any,
    ) -> Iterator[MixedIndex]:
        """Yield an index to be filled, which appears at `path` when the block ends without error.

        Parameters as for `create`. Until then an older index stays in place and in use.
        """
        manifest = Manifest(
            backend, fields_of(space), space.fingerprint, space.model, encoder, name,
            list(notes), dict(options),
        )  # fmt: skip
        old = _existing(path, options) if overwrite else None
        with new_folder(path, overwrite=overwrite) as folder:
            save_space(space, folder / _SPACE)
            engine = open_backend(backend, folder / _VECTORS, manifest.fields, options)
            known = getattr(engine, "kept_options", {})
            manifest = replace(manifest, options={**options, **known})
            manifest.write(folder)
            try:
                yield cls(folder, space, manifest, engine)
            except BaseException:
                engine.drop()
                raise
            finally:
                engine.close()
        if old is not None:
            old.drop()
            old.close()

    @classmethod
    def open(
        cls, path: str | Path, *, space: MixedSpace | None = None, **options: Any
    ) -> MixedIndex:
        """Open an index that exists.

        Parameters
        ----------
        path : str or path
        space : MixedSpace, optional
            The space that the caller means; an index of another one is refused.
        **options
            Of the engine: `dsn` for pgvector, which no index keeps.

        Raises
        ------
        InputError
            If it is no index, is damaged, is of another space, or its server cannot be reached.
        """
        folder = Path(path)
        manifest = Manifest.read(folder)
        own = load_space(folder / _SPACE)
        for found, whose in ((own, "beside it"), (space, "given")):
            if found is not None and found.fingerprint != manifest.fingerprint:
                raise InputError(
                    f"{folder} must be searched with the space that it was built with "
                    f"({manifest.fingerprint[:12]}), got another one {whose} "
                    f"({found.fingerprint[:12]}). Build the index again with that space."
                )
        if fields_of(own) != manifest.fields:
            raise InputError(
                f"{folder} must have the fields {fields_of(own)}, got {manifest.fields}. "
                "The description is damaged: build the index again."
            )
        engine = open_backend(
            manifest.backend, folder / _VECTORS, manifest.fields, {**manifest.options, **options}
        )
        return cls(folder, own, manifest, engine)

    def add_images(
        self,
        ids: Sequence[str],
        images: Any,
        payloads: Sequence[Mapping[str, Any]] | None = None,
        *,
        replace: bool = False,
        model: str | None = None,
        check_side: bool = True,
    ) -> None:
        """Add images, all of them or none.

        Parameters
        ----------
        ids : sequence of str of length n
            Distinct names.
        images : array of shape (n, n_features)
            Embeddings as the model gives them.
        payloads : sequence of mapping, optional
            What JSON can hold; comes back with each hit, unchanged.
        replace : bool
            Whether documents with these ids may be replaced.
        model : str, optional
            The model behind these embeddings; another one than that of the index is refused.
        check_side : bool
            Whether rows that lie where the other modality lies are refused.

        Raises
        ------
        InputError
            If an id is known already, a row is zero or not finite, or anything does not fit.
        """
        self._add({"image": images}, "image", ids, payloads, replace, model, check_side)

    def add_texts(
        self,
        ids: Sequence[str],
        texts: Any,
        payloads: Sequence[Mapping[str, Any]] | None = None,
        *,
        replace: bool = False,
        model: str | None = None,
        check_side: bool = True,
    ) -> None:
        """Add texts, all of them or none. Parameters as for `add_images`."""
        self._add({"text": texts}, "text", ids, payloads, replace, model, check_side)

    def add_documents(
        self,
        ids: Sequence[str],
        images: Any,
        texts: Any,
        payloads: Sequence[Mapping[str, Any]] | None = None,
        *,
        replace: bool = False,
        model: str | None = None,
        check_side: bool = True,
    ) -> None:
        """Add documents that are an image and a text each: row i of both belongs to id i.

        Such a document scores the mean of what its image and its text score. Parameters as for
        `add_images`.
        """
        rows = {"image": images, "text": texts}
        self._add(rows, "image+text", ids, payloads, replace, model, check_side)

    def search(
        self,
        *,
        image: Any | None = None,
        text: Any | None = None,
        k: int = 10,
        modalities: str | Collection[str] | None = None,
        stage: Stage | None = None,
        explain: bool = False,
        check_side: bool = True,
    ) -> list[Hit]:
        """Return the k best documents for one query, best first.

        Parameters
        ----------
        image, text : array of shape (n_features,), optional
            The query as the model embeds it. Given both, a document scores the mean of both.
        k : int
            At least 1; more than there are returns all.
        modalities : str or collection of str, optional
            Only documents that are "image", "text" or "image+text".
        stage : {"raw", "aligned", "calibrated"}, optional
            The ranking; the last one that the index has by default.
        explain : bool
            Whether hits say how their score came about.
        check_side : bool
            Whether a query that lies where the other modality lies is refused.

        Raises
        ------
        InputError
            If the query does not fit the index.
        """
        one = {side: _one_row(row, side) for side, row in _given(image, text).items()}
        found = self.search_batch(
            images=one.get("image"), texts=one.get("text"), k=k, modalities=modalities,
            stage=stage, explain=explain, check_side=check_side,
        )  # fmt: skip
        return found[0]

    def search_batch(
        self,
        *,
        images: Any | None = None,
        texts: Any | None = None,
        k: int = 10,
        modalities: str | Collection[str] | None = None,
        stage: Stage | None = None,
        explain: bool = False,
        check_side: bool = True,
    ) -> list[list[Hit]]:
        """Return the k best documents for each of many queries; see `search`.

        Parameters
        ----------
        images, texts : array of shape (n_queries, n_features), optional
            Given both, row i of both is one query.
        """
        check_integer(k, "k", low=1)
        chosen = self.check_stage(stage)
        wanted = _check_modalities(modalities)
        rows = {
            side: check_rows(self.space, given, side, check_side=False)
            for side, given in _given(images, texts).items()
        }
        if check_side:
            for side, given in rows.items():
                for i in range(len(given)):
                    check_rows(self.space, given[i : i + 1], side, check_side=True)
        if len(rows) == 2:
            check_same_count(rows["image"], rows["text"], "of one query each")
        asked = self._scoring.ask(rows)
        lists = asked.best(chosen, k, wanted, with_vectors=explain)
        return [
            _hits(found, (lambda one, i=i: asked.explain(one, i)) if explain else None)
            for i, found in enumerate(lists)
        ]

    def check_stage(self, stage: str | None) -> Stage:
        """Return a stage that this index has; its last one for None."""
        if stage is None:
            return self.stages[-1]
        check_choice(stage, "stage", STAGES)
        if stage not in self.stages:
            missing = "an aligner" if stage == "aligned" else "a calibration"
            raise InputError(
                f"stage must be one of {', '.join(self.stages)} in this index, whose space has no "
                f"{missing.partition(' ')[2]}, got {stage!r}. Build it with {missing}."
            )
        return cast("Stage", stage)

    def get(self, identity: str) -> Hit:
        """Return one document by its id; its score is NaN.

        Raises
        ------
        InputError
            If there is none.
        """
        found = self._backend.get([identity])
        if not found:
            raise InputError(
                f"the id must be that of a document in the index, got {identity!r}. "
                "Look it up with a search."
            )
        return _hits(found, None)[0]

    def delete(self, ids: Sequence[str]) -> int:
        """Remove documents, and return how many there were."""
        return self._backend.delete(check_ids(ids, len(ids))) if len(ids) else 0

    def sample(self, modality: Kind, n: int) -> list[Found]:
        """Return at most n documents of one modality with their vectors, the same each time."""
        check_choice(modality, "modality", MODALITIES)
        return self._backend.sample(modality, check_integer(n, "n", low=1))

    def count(self) -> dict[str, int]:
        """Return the number of documents of each modality that occurs."""
        return self._backend.count()

    def __len__(self) -> int:
        return sum(self.count().values())

    def close(self) -> None:
        """Let go of files and connections."""
        self._backend.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _add(
        self,
        rows: Mapping[Modality, Any],
        modality: Kind,
        ids: Sequence[str],
        payloads: Sequence[Mapping[str, Any]] | None,
        replace: bool,
        model: str | None,
        check_side: bool,
    ) -> None:
        own = self.manifest.model
        if model is not None and own is not None and model != own:
            raise InputError(
                f"embeddings must be of the model of the index, {own!r}, got {model!r}. "
                "Embed with that model, or build another index."
            )
        checked = {
            side: check_rows(self.space, part, side, check_side=check_side)
            for side, part in rows.items()
        }
        if len(checked) == 2:
            check_same_count(checked["image"], checked["text"], "in documents of both")
        n = len(next(iter(checked.values())))
        names, texts = check_ids(ids, n), encode_payloads(payloads, n)
        known = [] if replace else [found.id for found in self._backend.get(names)]
        if known:
            raise InputError(
                f"ids must be new, got {known[0]!r}, which is in the index already. "
                "Choose another, or allow it to be replaced (replace=True)."
            )
        self._backend.add(Batch(modality, names, texts, vectors(self.space, checked)))


def _existing(path: str | Path, options: Mapping[str, Any]) -> Backend | None:
    """Return the engine of the index that will be replaced, if its vectors are on a server."""
    folder = Path(path)
    if not folder.exists():
        return None
    manifest = Manifest.read(folder)
    if manifest.backend != "pgvector":
        return None
    return open_backend(
        manifest.backend, folder / _VECTORS, manifest.fields, {**manifest.options, **options}
    )


def _given(image: Any | None, text: Any | None) -> dict[Modality, Any]:
    sides: dict[Modality, Any] = {"image": image, "text": text}
    given: dict[Modality, Any] = {side: rows for side, rows in sides.items() if rows is not None}
    if not given:
        raise InputError("a query must be an image, a text or both, got neither. Pass a vector.")
    return given


def _one_row(row: Any, side: str) -> Any:
    vector = np.asarray(row)
    if vector.ndim == 2 and len(vector) == 1:
        return vector
    if vector.ndim != 1:
        raise InputError(
            f"the {side} query must be one vector, got shape {vector.shape}. "
            "Use search_batch for several."
        )
    return vector[None]


def _check_modalities(modalities: str | Collection[str] | None) -> set[str] | None:
    if modalities is None:
        return None
    listed = [modalities] if isinstance(modalities, str) else list(modalities)
    if not listed:
        raise InputError(
            "modalities must be at least one, got none. Leave it out to search them all."
        )
    return {check_choice(one, "modality", MODALITIES) for one in listed}


def _hits(found: Sequence[Found], explain: Any) -> list[Hit]:
    hits, ranks = [], dict.fromkeys(MODALITIES, 0)
    for rank, one in enumerate(found, start=1):
        ranks[cast("Literal['image']", one.modality)] += 1
        hits.append(
            Hit(
                one.id, one.modality, one.score, rank, ranks[cast("Kind", one.modality)],
                json.loads(one.payload), explain(one) if explain else None,
            )  # fmt: skip
        )
    return hits

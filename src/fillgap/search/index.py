"""One index of images and texts that is asked by either."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Self, cast, get_args

from fillgap.calibration.base import Modality
from fillgap.errors import InputError, check_choice, check_integer, check_same_count
from fillgap.search.backend import MODALITIES, Backend, Batch, Found, Kind
from fillgap.search.documents import (
    Manifest,
    check_ids,
    check_model,
    check_rows,
    encode_payloads,
    vectors,
)
from fillgap.search.scoring import (
    Hit,
    Scoring,
    Stage,
    check_flags,
    check_modalities,
    given_sides,
    number_hits,
    one_row,
)
from fillgap.space import MixedSpace

STAGES: tuple[Stage, ...] = get_args(Stage)


class MixedIndex:
    """Images, texts, and documents of both in one index, ranked by comparable scores.

    An index is a folder: a description, the space, and the vectors of the engine. `create_index`
    makes an empty one, `open_index` opens one. All vectors that are added, and all queries, are
    embeddings as the model gives them; the space is applied here. A batch is seen whole or not at
    all by those who search meanwhile.

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
    >>> from fillgap.search import create_index
    >>> from fillgap.space import MixedSpace
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     index = create_index(f"{folder}/index", MixedSpace(n_features=3))
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
        rows: dict[Modality, Any] = {"image": images}
        self._add(rows, ids, payloads, replace=replace, model=model, check_side=check_side)

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
        rows: dict[Modality, Any] = {"text": texts}
        self._add(rows, ids, payloads, replace=replace, model=model, check_side=check_side)

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
        rows: dict[Modality, Any] = {"image": images, "text": texts}
        self._add(rows, ids, payloads, replace=replace, model=model, check_side=check_side)

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
        one = {f"{side}s": one_row(row, side) for side, row in given_sides(image, text).items()}
        return self.search_batch(
            **one, k=k, modalities=modalities, stage=stage, explain=explain, check_side=check_side
        )[0]

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
        check_flags(explain=explain, check_side=check_side)
        chosen = self.check_stage(stage)
        wanted = check_modalities(modalities)
        rows = {
            side: check_rows(self.space, given, side, check_side=False, what=f"{side} queries")
            for side, given in given_sides(images, texts).items()
        }
        if check_side:
            for side, one in ((side, row) for side, given in rows.items() for row in given):
                check_rows(self.space, one[None], side, check_side=True, what=f"{side} queries")
        if len(rows) == 2:
            check_same_count(rows["image"], rows["text"], "of one query each")
        lists = (asked := self._scoring.ask(rows)).best(chosen, k, wanted, with_vectors=explain)
        return [
            number_hits(found, partial(asked.explain, i=i) if explain else None)
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
        return stage

    def get(self, identity: str) -> Hit:
        """Return one document by its id; its score is NaN.

        Raises
        ------
        InputError
            If there is none.
        """
        found = self._backend.get(check_ids([identity], 1))
        if not found:
            raise InputError(
                f"the id must be that of a document in the index, got {identity!r}. "
                "Look it up with a search."
            )
        return number_hits(found, None)[0]

    def delete(self, ids: Sequence[str]) -> int:
        """Remove documents, and return how many there were."""
        named = check_ids(ids)
        return self._backend.delete(named) if named else 0

    def fetch(self, ids: Sequence[str]) -> list[Found]:
        """Return the documents of these ids that there are, with their vectors, in any order."""
        return self._backend.get(check_ids(ids, distinct=False), with_vectors=True)

    def sample(self, modality: Kind, n: int) -> list[Found]:
        """Return at most n documents of one modality with their vectors, the same each time."""
        check_choice(modality, "modality", MODALITIES)
        return self._backend.sample(modality, check_integer(n, "n", low=1))

    def count(self) -> dict[str, int]:
        """Return the number of documents of each modality that occurs."""
        return self._backend.count()

    def __len__(self) -> int:
        return sum(self.count().values())

    def optimise(self) -> None:
        """Build or extend the graphs of the engine, after much was added."""
        self._backend.optimise()

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
        ids: Sequence[str],
        payloads: Sequence[Mapping[str, Any]] | None,
        *,
        replace: bool,
        model: str | None,
        check_side: bool,
    ) -> None:
        check_flags(replace=replace, check_side=check_side)
        check_model(model, self.manifest.model)
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
        kind = cast("Kind", "+".join(rows))
        self._backend.add(Batch(kind, names, texts, vectors(self.space, checked)))

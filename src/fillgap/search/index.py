"""One index of images and texts that is asked by either: documents in, queries scored, hits out."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, Self, cast, get_args

import numpy as np
from numpy.typing import NDArray

from fillgap.calibration.base import MODALITIES as SIDES
from fillgap.calibration.base import Modality
from fillgap.errors import (
    InputError,
    InputTypeError,
    as_array,
    check_choice,
    check_flag,
    check_integer,
    check_same_count,
    unit_rows,
)
from fillgap.search.backend import MODALITIES, Backend, Batch, Found, Kind, Term
from fillgap.search.documents import (
    ALIGNED,
    RAW,
    STORED,
    Manifest,
    check_ids,
    check_rows,
    encode_payloads,
    mean_rows,
    vectors,
)
from fillgap.space import MixedSpace

Array = NDArray[Any]
Stage = Literal["raw", "aligned", "calibrated"]

#: Where a calibration does not fold, this many times k documents of each modality are rescored.
_LONGER, _AT_LEAST = 4, 200


@dataclass(frozen=True)
class Explanation:
    """How a score came about; a query of both kinds, and a document of both, give means."""

    raw: float  # cosine of the embeddings as the model gives them
    aligned: float | None = None  # cosine after alignment, where there is an aligner
    calibrated: float | None = None  # calibrated score, where there is a calibration


@dataclass(frozen=True)
class Hit:
    """A document that was found."""

    id: str
    modality: str  # "image", "text" or "image+text"
    score: float  # a cosine or a calibrated score, by the stage that was searched
    rank: int  # from 1
    rank_in_modality: int  # among the documents of its modality
    payload: Mapping[str, Any]  # what was added with it
    explanation: Explanation | None = None  # where it was asked for


class MixedIndex:
    """Images, texts, and documents of both in one index, ranked by comparable scores.

    `create_index` makes an empty one, `open_index` opens one. Vectors that are added, and queries,
    are embeddings as the model gives them; the space is applied here. A batch is seen whole or not
    at all by those who search meanwhile.

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
        has = {"raw": True, "aligned": space.aligner, "calibrated": space.calibration}
        self.stages: tuple[Stage, ...] = tuple(s for s in get_args(Stage) if has[s] is not None)

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
        self._add(
            {"image": images}, ids, payloads, replace=replace, model=model, check_side=check_side
        )

    def add_texts(
        self,
        ids: Sequence[str],
        texts: Any,
        payloads: Sequence[Mapping[str, Any]] | None = None,
        **options: Any,
    ) -> None:
        """Add texts, all of them or none. Parameters as for `add_images`."""
        self._add({"text": texts}, ids, payloads, **options)

    def add_documents(
        self,
        ids: Sequence[str],
        images: Any,
        texts: Any,
        payloads: Sequence[Mapping[str, Any]] | None = None,
        **options: Any,
    ) -> None:
        """Add documents that are an image and a text each: row i of both belongs to id i.

        Such a document scores the mean of what its image and its text score. Parameters as for
        `add_images`.
        """
        self._add({"image": images, "text": texts}, ids, payloads, **options)

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
        check_flag(explain, "explain")
        check_flag(check_side, "check_side")
        chosen, wanted = self.check_stage(stage), check_modalities(modalities)
        rows = {
            side: check_rows(self.space, given, side, queries=True, check_side=check_side)
            for side, given in given_sides(images, texts).items()
        }
        if len(rows) == 2:
            check_same_count(rows["image"], rows["text"], "of one query each")
        asked = Asked(self.space, self._backend, rows)
        lists = asked.best(chosen, k, wanted, with_vectors=explain)
        return [
            number_hits(found, partial(asked.explain, i=i) if explain else None)
            for i, found in enumerate(lists)
        ]

    def check_stage(self, stage: str | None) -> Stage:
        """Return a stage that this index has; its last one for None."""
        if stage is None:
            return self.stages[-1]
        check_choice(stage, "stage", get_args(Stage))
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
        return number_hits(found)[0]

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
        replace: bool = False,
        model: str | None = None,
        check_side: bool = True,
    ) -> None:
        check_flag(replace, "replace")
        check_flag(check_side, "check_side")
        if model is not None and self.manifest.model is not None and model != self.manifest.model:
            raise InputError(
                f"embeddings must be of the model of the index, {self.manifest.model!r}, got "
                f"{model!r}. Embed with that model, or build another index."
            )
        checked = {
            side: check_rows(self.space, part, side, check_side=check_side)
            for side, part in rows.items()
        }
        if len(checked) == 2:
            check_same_count(checked["image"], checked["text"], "in documents of both")
        n = len(next(iter(checked.values())))
        names, texts = check_ids(ids, n), encode_payloads(payloads, n)
        known = [] if replace else self._backend.get(names)
        if known:
            raise InputError(
                f"ids must be new, got {known[0].id!r}, which is in the index already. "
                "Choose another, or allow it to be replaced (replace=True)."
            )
        kind = cast("Kind", "+".join(rows))
        self._backend.add(Batch(kind, names, texts, vectors(self.space, checked)))


class Asked:
    """A block of queries in the form that each stage needs; row i of both modalities is one."""

    def __init__(self, space: MixedSpace, backend: Backend, rows: Mapping[Modality, Any]) -> None:
        self._space, self._backend = space, backend
        self._field = ALIGNED if space.aligner is not None else RAW
        self._raw = mean_rows([unit_rows(part, f"{side} queries") for side, part in rows.items()])
        self._of = {side: space.align_queries(part, side) for side, part in rows.items()}
        self._aligned = mean_rows(list(self._of.values()))
        self._with_one = {
            side: np.concatenate([part, np.ones((len(part), 1), dtype=np.float32)], axis=1)
            for side, part in self._of.items()
        }
        self._depth, self._lists = _AT_LEAST, dict[str, list[list[Found]]]()

    def best(
        self, stage: Stage, k: int, modalities: Collection[str] | None, *, with_vectors: bool
    ) -> list[list[Found]]:
        """Return the k best documents of each query at a stage."""
        self._depth, self._lists = max(_LONGER * k, _AT_LEAST), {}
        if stage == "raw":
            terms = [Term(RAW, self._raw)]
        elif stage == "aligned":
            terms = [Term(self._field, self._aligned)]
        elif self._space.folds:
            terms = [
                Term(STORED[side], (rows / len(self._of)).astype(np.float32))
                for side, rows in self._with_one.items()
            ]
        else:
            return self._rescored(k, modalities)
        return self._backend.search(terms, k, modalities, with_vectors=with_vectors)

    def explain(self, found: Found, i: int) -> Explanation:
        """Return how query i and a document, found with its vectors, score at each stage."""
        space, calibrated = self._space, None
        if space.calibration is not None and space.folds:
            scores = [rows[i] @ found.vectors[STORED[s]] for s, rows in self._with_one.items()]
            calibrated = float(np.mean(scores))
        elif space.calibration is not None:
            beside: list[Found] = []
            if space.calibration.reads_list:
                beside = [one for one in self._list(found.modality)[i] if one.id != found.id]
            calibrated = float(self._rescore([*beside, found], i)[-1])
        aligned = None
        if space.aligner is not None:
            aligned = float(self._aligned[i] @ found.vectors[ALIGNED])
        return Explanation(float(self._raw[i] @ found.vectors[RAW]), aligned, calibrated)

    def _rescored(self, k: int, modalities: Collection[str] | None) -> list[list[Found]]:
        """Take a longer list of each modality by aligned cosine, and calibrate it."""
        kinds = MODALITIES if modalities is None else sorted(modalities)
        lists = [self._list(modality) for modality in kinds]
        best = []
        for i in range(len(self._aligned)):
            union = [
                document._replace(score=float(score))
                for single in lists
                if single[i]
                for document, score in zip(single[i], self._rescore(single[i], i), strict=True)
            ]
            best.append(sorted(union, key=lambda document: -document.score)[:k])
        return best

    def _list(self, modality: str) -> list[list[Found]]:
        """Return the longer list of one modality of each query, by aligned cosine."""
        if modality not in self._lists:
            self._lists[modality] = self._backend.search(
                [Term(self._field, self._aligned)], self._depth, {modality}, with_vectors=True
            )
        return self._lists[modality]

    def _rescore(self, found: list[Found], i: int) -> Array:
        """Return calibrated scores of documents of one modality, the mean over both where both."""
        rows = np.stack([document.vectors[self._field] for document in found])
        scores = [
            self._space.calibrate(
                (asked[i] @ rows.T)[None], query=side, document=half, documents=rows
            )[0]
            for side, asked in self._of.items()
            for half in SIDES
            if half in found[0].modality.split("+")
        ]
        return np.mean(scores, axis=0)


def given_sides(image: Any | None, text: Any | None) -> dict[Modality, Any]:
    """Return the sides of a query that are there."""
    sides: dict[Modality, Any] = {"image": image, "text": text}
    given = {side: rows for side, rows in sides.items() if rows is not None}
    if not given:
        raise InputError("a query must be an image, a text or both, got neither. Pass a vector.")
    return given


def one_row(row: Any, side: str) -> Any:
    """Return one query as a matrix of one row."""
    vector = as_array(row, f"the {side} query")
    if vector.ndim == 2 and len(vector) == 1:
        vector = vector[0]
    if vector.ndim != 1:
        raise InputError(
            f"the {side} query must be one vector, got shape {vector.shape}. "
            "Use search_batch for several."
        )
    got = None
    if vector.dtype.kind == "f":  # other types, and lengths, are refused as those of documents are
        if not vector.size:
            got = "be a vector, got an empty one"
        elif not np.isfinite(vector).all():
            got = "be finite numbers that are not all zero, got NaN or infinity"
        elif not vector.any():
            got = "be finite numbers that are not all zero, got all zeros"
    if got is not None:
        raise InputError(f"the {side} query must {got}. Look for a failed encoding.")
    return vector[None]


def check_modalities(modalities: str | Collection[str] | None) -> set[str] | None:
    """Return the modalities that a search is restricted to, or None."""
    if modalities is None:
        return None
    if not isinstance(modalities, str | Collection):
        raise InputTypeError(
            f"modalities must be a name or several, got {modalities!r}. "
            f"Choose of {', '.join(MODALITIES)}."
        )
    listed = [modalities] if isinstance(modalities, str) else list(modalities)
    if not listed:
        raise InputError(
            "modalities must be at least one, got none. Leave it out to search them all."
        )
    return {check_choice(one, "modality", MODALITIES) for one in listed}


def number_hits(
    found: Sequence[Found], explain: Callable[[Found], Explanation] | None = None
) -> list[Hit]:
    """Return hits with their ranks; `explain` says how each score came about."""
    hits: list[Hit] = []
    ranks: dict[str, int] = dict.fromkeys(MODALITIES, 0)
    for rank, document in enumerate(found, start=1):
        identity, modality, text, score, _ = document
        ranks[modality] += 1
        try:
            payload = json.loads(text)
        except (TypeError, ValueError) as error:
            raise InputError(
                f"the payload of {identity!r} must be JSON, got something else ({error}). "
                "The index is damaged: copy it again, or build it again."
            ) from error
        explanation = explain(document) if explain else None
        hits.append(Hit(identity, modality, score, rank, ranks[modality], payload, explanation))
    return hits

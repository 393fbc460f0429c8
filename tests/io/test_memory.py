"""Reading and writing in blocks takes the memory of a few blocks, however long the file is."""

from __future__ import annotations

import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fillgap.io import open_rows, transform_files
from fillgap.pair import BLOCK_ROWS
from io_formats import FORMATS, negated

ROWS, COLUMNS = 16 * BLOCK_ROWS, 64
BLOCK = BLOCK_ROWS * COLUMNS * 4


@pytest.fixture
def rows() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(ROWS, COLUMNS)).astype("f4")


# The block that is used and the one that is read; an archive's bytes or other order are copied.
@pytest.mark.parametrize(
    ("name", "blocks"), [("npy", 2), ("npy by columns", 3), ("npz", 3), ("safetensors", 2)]
)
def test_numpy_holds_a_few_blocks(tmp_path: Path, rows, name: str, blocks: int) -> None:
    path = FORMATS[name].make(tmp_path, rows)
    open_rows(path)  # imports count as memory too

    def peak(action: Callable[[], object]) -> float:
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        action()
        return (tracemalloc.get_traced_memory()[1] - before) / BLOCK

    tracemalloc.start()
    try:
        assert peak(lambda: open_rows(path)) < 0.1
        blockwise = peak(lambda: [len(b) for b in open_rows(path).iter_blocks(BLOCK_ROWS)])
        assert blockwise < blocks + 0.2
        assert peak(lambda: transform_files(path, path.with_stem("new"), negated)) < blocks + 1.2
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("suffix", [".parquet", ".arrow"])
def test_arrow_holds_a_few_blocks(tmp_path: Path, rows, suffix: str) -> None:
    lists = pa.FixedSizeListArray.from_arrays(pa.array(rows.ravel()), COLUMNS)
    table = pa.table({"emb": lists, "id": range(ROWS)})
    path = tmp_path / f"x{suffix}"
    if suffix == ".parquet":
        pq.write_table(table, path, row_group_size=ROWS)
    else:
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table)
    code = (
        "import sys, pyarrow as pa\n"
        "from fillgap.io import open_rows\n"
        "for _ in open_rows(sys.argv[1]).iter_blocks(int(sys.argv[2])): pass\n"
        "print(pa.default_memory_pool().max_memory())"
    )
    command = [sys.executable, "-c", code, str(path), str(BLOCK_ROWS)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert int(done.stdout) < 8 * BLOCK  # of 16


def test_import_is_light() -> None:
    code = "import sys, fillgap.io; print({'pyarrow', 'safetensors'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"

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
import safetensors.numpy

from fillgap.io import open_rows, transform_files
from fillgap.pair import BLOCK_ROWS

ROWS, COLUMNS = 16 * BLOCK_ROWS, 64
BLOCK = BLOCK_ROWS * COLUMNS * 4


def write(path: Path) -> Path:
    rows = np.random.default_rng(0).normal(size=(ROWS, COLUMNS)).astype("f4")
    if path.suffix == ".npz":
        np.savez(path, emb=rows)
    elif path.suffix == ".safetensors":
        safetensors.numpy.save_file({"emb": rows}, path)
    elif path.suffix == ".npy":
        np.save(path, np.asfortranarray(rows) if path.stem == "columns" else rows)
    else:
        lists = pa.FixedSizeListArray.from_arrays(pa.array(rows.ravel()), COLUMNS)
        table = pa.table({"emb": lists, "id": range(ROWS)})
        if path.suffix == ".parquet":
            pq.write_table(table, path, row_group_size=ROWS)
        else:
            with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
                writer.write_table(table)
    return path


@pytest.fixture
def traced():
    tracemalloc.start()
    yield
    tracemalloc.stop()


# The block that is used and the one that is read; an archive's bytes or other order are copied.
@pytest.mark.parametrize(
    ("name", "blocks"), [("rows.npy", 2), ("columns.npy", 3), ("x.npz", 3), ("x.safetensors", 2)]
)
def test_numpy_holds_a_few_blocks(tmp_path: Path, name: str, blocks: int, traced: None) -> None:
    path = write(tmp_path / name)
    open_rows(path)  # imports count as memory too

    def peak(action: Callable[[], object]) -> float:
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        action()
        return (tracemalloc.get_traced_memory()[1] - before) / BLOCK

    assert peak(lambda: open_rows(path)) < 0.1
    assert (
        peak(lambda: [len(block) for block in open_rows(path).iter_blocks(BLOCK_ROWS)])
        < blocks + 0.2
    )
    target = path.with_stem("new")
    assert (
        peak(lambda: transform_files(path, target, lambda block, first_row: -block)) < blocks + 1.2
    )


@pytest.mark.parametrize("name", ["x.parquet", "x.arrow"])
def test_arrow_holds_a_few_blocks(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / name)
    code = (
        "import sys, pyarrow as pa\n"
        "from fillgap.io import open_rows\n"
        "for _ in open_rows(sys.argv[1]).iter_blocks(int(sys.argv[2])): pass\n"
        "print(pa.default_memory_pool().max_memory())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(path), str(BLOCK_ROWS)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(done.stdout) < 8 * BLOCK  # of 16


def test_import_is_light() -> None:
    code = "import sys, fillgap.io; print({'pyarrow', 'safetensors'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"

"""Imports point downward: a module imports only from lower layers, or within its own package."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import fillgap

PACKAGE = Path(fillgap.__file__).parent

LAYERS: list[set[str]] = [
    {
        "_checks", "_linalg", "_subspaces", "_progress", "_files", "_similarity",
        "_similarity_numpy", "_similarity_torch", "_threads", "_remote", "_copies",
        "_remote_store", "_remote_stream", "affine",
    },
    {"moments", "rows", "embeddings", "artifact", "_device"},
    {"io"},
    {"metrics", "aligners", "scores", "theory", "encoders", "datasets"},
    {"space"},
    {"evaluation", "distributed", "search", "export", "integrations"},
    {"experiments"},
    {"report", "serve"},
    {"cli"},
]  # fmt: skip

#: Inside the lowest layers modules may lean on each other, as long as there is no cycle.
FREE_WITHIN = {0, 1}


def level_of(name: str) -> int:
    return next(level for level, names in enumerate(LAYERS) if name in names)


def imports_of(path: Path) -> set[str]:
    """Return every module of the package that a file imports, at any depth of its code."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level:
            found.add("." * node.level)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("fillgap"):
            names = [node.module] if node.module != "fillgap" else []
            names += [f"fillgap.{alias.name}" for alias in node.names if node.module == "fillgap"]
            found.update(name for name in names if name)
        elif isinstance(node, ast.Import):
            found.update(a.name for a in node.names if a.name.startswith("fillgap"))
    return found


FILES = sorted(path for path in PACKAGE.rglob("*.py") if path.parent != PACKAGE or (
    path.stem not in {"__init__", "__main__"}
))  # fmt: skip


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_downward(path: Path) -> None:
    own = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    for module in imports_of(path):
        assert not module.startswith("."), f"{path} imports relatively"
        target = [*module.split("."), ""][1]
        if target in {own, "", "__version__"}:
            continue
        lower, here = level_of(target), level_of(own)
        allowed = lower < here or (lower == here and here in FREE_WITHIN)
        assert allowed, f"{own} (layer {here}) imports {module} (layer {lower})"


def test_no_cycle_of_modules() -> None:
    graph = {}
    for path in FILES:
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        name = ".".join(["fillgap", *parts]).removesuffix(".__init__")
        top_level = [
            node for node in ast.parse(path.read_text()).body if isinstance(node, ast.ImportFrom)
        ]
        graph[name] = {n.module for n in top_level if (n.module or "").startswith("fillgap")}

    def visit(name: str, above: tuple[str, ...]) -> None:
        assert name not in above, " imports ".join((*above, name))
        for target in graph.get(name, ()):
            visit(target, (*above, name))

    for name in graph:
        visit(name, ())


def test_every_module_has_a_layer() -> None:
    for path in FILES:
        level_of(path.relative_to(PACKAGE).parts[0].removesuffix(".py"))


def test_no_file_is_long_and_none_is_a_drawer() -> None:
    for path in FILES:
        assert len(path.read_text().splitlines()) <= 300, path
        assert path.stem.strip("_") not in {"utils", "util", "common", "helpers", "misc"}, path

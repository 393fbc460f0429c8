"""Imports point downward, nothing goes round in a circle, and what is private stays at home."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import fillgap

PACKAGE = Path(fillgap.__file__).parent

#: From the ground up; rooms of one floor do not import each other.
LAYERS: list[set[str]] = [
    {"errors"},
    {"linalg", "pair", "remote"},
    {"maps", "moments"},
    {"runtime", "files"},
    {"kernel"},
    {"io"},
    {"metrics", "aligners", "calibration", "encoders", "datasets"},
    {"space"},
    {"evaluation", "distributed", "search", "export", "integrations"},
    {"embed", "report", "serve"},
    {"bench"},
    {"papers"},
    {"cli"},
]


def level_of(name: str) -> int:
    return next(level for level, names in enumerate(LAYERS) if name in names)


def module_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(["fillgap", *parts]).removesuffix(".__init__")


FILES = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}
ROOMS = {name: path for name, path in FILES.items() if name not in {"fillgap", "fillgap.__main__"}}


def imports_of(path: Path) -> set[tuple[str, str]]:
    """Return (module, name) of all that a file imports of the package, at any depth of its code."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path} imports relatively"
            if (node.module or "").partition(".")[0] == "fillgap":
                found.update((node.module, alias.name) for alias in node.names)
        elif isinstance(node, ast.Import):
            found.update((a.name, "") for a in node.names if a.name.startswith("fillgap"))
    return found


def targets_of(path: Path) -> set[str]:
    """Return the modules that a file imports or takes names from."""
    named = {(module, f"{module}.{name}") for module, name in imports_of(path)}
    return {inner if inner in FILES else module for module, inner in named}


@pytest.mark.parametrize("name", ROOMS)
def test_imports_point_downward(name: str) -> None:
    own = name.split(".")[1]
    for target in targets_of(ROOMS[name]) - {"fillgap"}:
        room = target.split(".")[1]
        assert room == own or level_of(room) < level_of(own), f"{name} imports {target}"


def test_no_circle_at_any_depth_of_the_code() -> None:
    graph = {name: targets_of(path) - {"fillgap", name} for name, path in ROOMS.items()}
    finished: set[str] = set()

    def visit(name: str, above: tuple[str, ...]) -> None:
        assert name not in above, " imports ".join((*above, name))
        if name not in finished:
            for target in graph.get(name, ()):
                visit(target, (*above, name))
            finished.add(name)

    for name in graph:
        visit(name, ())


@pytest.mark.parametrize("name", ROOMS)
def test_nothing_private_crosses_a_package(name: str) -> None:
    own = name.split(".")[1]
    for module, imported in imports_of(ROOMS[name]):
        if module.split(".")[1:2] != [own] and imported != "__version__":
            private = [part for part in (*module.split("."), imported) if part.startswith("_")]
            assert not private, f"{name} imports {imported} of {module}"


@pytest.mark.parametrize("name", FILES)
def test_names_are_listed_in_faces_alone(name: str) -> None:
    path = FILES[name]
    listed = any(
        isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
        for node in ast.parse(path.read_text()).body
    )
    assert not listed or path.name == "__init__.py", f"{name} lists its names"


def test_every_room_has_a_floor_and_none_is_a_drawer() -> None:
    for name in ROOMS:
        level_of(name.split(".")[1])
        drawers = {"utils", "util", "common", "helpers", "misc", "tools"}
        assert name.rpartition(".")[2] not in drawers, name

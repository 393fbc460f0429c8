"""The names of the package: all there, documented, and imported only when they are used."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import subprocess
import sys

import pytest

import fillgap

PACKAGES = [
    "fillgap", "fillgap.aligners", "fillgap.metrics", "fillgap.io", "fillgap.evaluation",
    "fillgap.datasets", "fillgap.encoders", "fillgap.papers.theory", "fillgap.calibration",
    "fillgap.search", "fillgap.serve", "fillgap.export", "fillgap.integrations",
    "fillgap.distributed",
]  # fmt: skip
NAMES = [
    (package, name)
    for package in PACKAGES
    for name in importlib.import_module(package).__all__
    if not name.startswith("__")
]


@pytest.mark.parametrize(("package", "name"), NAMES)
def test_every_public_name_exists_and_is_documented(package: str, name: str) -> None:
    value = getattr(importlib.import_module(package), name)
    if inspect.isclass(value) or inspect.isfunction(value):
        assert inspect.getdoc(value), f"{package}.{name} has no docstring"
        assert value.__module__.startswith("fillgap")


def test_unknown_names_are_attribute_errors() -> None:
    with pytest.raises(AttributeError, match="module 'fillgap' has no attribute 'nothing'"):
        fillgap.nothing  # noqa: B018
    assert set(fillgap.__all__) == set(dir(fillgap))


def test_importing_the_package_imports_nothing_heavy() -> None:
    code = "import sys, fillgap; print(sorted(set(sys.modules) & {'numpy', 'scipy', 'sklearn'}))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys\n"
        "from fillgap.cli.app import run\n"
        "run(['fit', '--help'])\n"
        "heavy = {'numpy', 'scipy', 'sklearn', 'pyarrow', 'matplotlib', 'jinja2'}\n"
        "print('HEAVY', sorted(set(sys.modules) & heavy))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "HEAVY []" in found.stdout


def test_every_module_has_all_and_it_is_true() -> None:
    for info in pkgutil.walk_packages(fillgap.__path__, "fillgap."):
        if info.name.endswith("__main__"):
            continue
        module = importlib.import_module(info.name)
        for name in getattr(module, "__all__", ()):
            assert hasattr(module, name), f"{info.name}.{name}"

"""Tables of the documentation that are made from the code, and from measured results."""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import pkgutil
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
EVIDENCE = ROOT / "docs" / "evidence"


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = ["| " + " | ".join(header) + " |", "|" + " --- |" * len(header)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])


def escaped(text: str) -> str:
    """Return plain text, with code in backticks, as a cell of a Markdown table shows it."""
    parts = text.split("`")
    parts[::2] = [re.sub(r"[\\|<>*_^~{}\[\]]", lambda m: f"&#{ord(m[0])};", p) for p in parts[::2]]
    return "`".join(parts)


# Names ------------------------------------------------------------------------------------------


def packages() -> list[str]:
    """Return the packages whose names are public, `fillgap` first."""
    import fillgap

    found = [
        info.name for info in pkgutil.walk_packages(fillgap.__path__, "fillgap.") if info.ispkg
    ]
    public = [
        name
        for name in found
        if name != "fillgap.cli" and getattr(importlib.import_module(name), "__all__", None)
    ]
    return ["fillgap", *public]


def homes(package: str) -> dict[str, list[str]]:
    """Return the public names of a package by the module that defines them, in its order."""
    module = importlib.import_module(package)
    tree = ast.parse(inspect.getsource(module))
    origin = {
        alias.name: node.module
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module
        for alias in node.names
    }
    found: dict[str, list[str]] = {}
    for name in sorted(module.__all__, key=list(origin).index):
        found.setdefault(origin[name] or package, []).append(name)
    return found


def api(package: str) -> str:
    """Return the directives that document every public name of a package, module by module."""
    parts = []
    for home, names in homes(package).items():
        about = (inspect.getdoc(importlib.import_module(home)) or "").partition("\n\n")[0]
        title = home.rpartition(".")[2].replace("_", " ").strip().capitalize()
        parts += [f"## {title}", " ".join(about.split())]
        parts += [f"::: {package}.{name}" for name in names]
    return "\n\n".join(parts)


def module(name: str) -> str:
    """Return the directives that document every name of one module."""
    found = importlib.import_module(name)
    about = " ".join((inspect.getdoc(found) or "").split())
    own = [key for key, value in vars(found).items() if getattr(value, "__module__", "") == name]
    public = [key for key in own if not key.startswith("_")]
    return "\n\n".join([f"## {name}", about, *(f"::: {name}.{item}" for item in public)])


def names() -> str:
    """Return a table of the names of `fillgap` itself, each linked to its description."""
    import fillgap

    rows = []
    for name in fillgap.__all__:
        if name.startswith("__"):
            continue
        about = (inspect.getdoc(getattr(fillgap, name)) or "").partition("\n")[0]
        rows.append([f"[`{name}`][fillgap.{name}]", escaped(about)])
    return table(["name", "what it is"], rows)


# Methods and measures ---------------------------------------------------------------------------


def aligners() -> str:
    """Return the table of methods: what each reads, what it needs, its parameters."""
    from fillgap.aligners import METHODS

    reads = {0: "holds all rows", 1: "one pass", 2: "two passes"}
    rows = []
    for name, cls in METHODS.items():
        parameters = inspect.signature(cls).parameters.values()
        rows.append(
            [
                f"[`{name}`](#{name})",
                "pairs" if cls.needs_pairs else "",
                reads[cls.passes],
                ", ".join(f"`{p.name}={p.default!r}`" for p in parameters if p.name != "normalize"),
            ]
        )
    return table(["method", "needs", "fit reads", "parameters and defaults"], rows)


def measures() -> str:
    """Return the table of measures: direction, and invariances that not all of them have."""
    from fillgap.metrics import MEASURES

    shared = frozenset.intersection(*(entry.invariances for entry in MEASURES.values()))
    better = {True: "larger", False: "smaller", None: "neither"}
    rows = [
        [
            f"[`{entry.name}`][fillgap.metrics.{entry.name}]",
            entry.family,
            better[entry.larger_is_better],
            "pairs" if entry.needs_pairs else "",
            ", ".join(sorted(entry.invariances - shared)).replace("_", " "),
        ]
        for entry in MEASURES.values()
    ]
    return table(["measure", "family", "better", "needs", "also left alone by"], rows)


# Commands ---------------------------------------------------------------------------------------


def commands() -> str:
    """Return every command with its help, arguments and options, as the program prints them."""
    import typer

    from fillgap.cli.app import app

    group: Any = typer.main.get_command(app)
    return "\n\n".join(
        part for name, command in leaves(group, "fillgap") for part in _command(name, command)
    )


def leaves(group: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    """Yield each command that does something, with the words that call it."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from leaves(command, f"{prefix} {name}")
        else:
            yield f"{prefix} {name}", command


def _command(name: str, command: Any) -> list[str]:
    """Return the section of one command."""
    context = command.make_context(
        name, [], resilient_parsing=True, help_option_names=["-h", "--help"]
    )
    usage = command.get_usage(context).removeprefix("Usage: ")
    for before, after in (("[[", "["), ("]]", "]"), ("{", ""), ("}", "")):
        usage = usage.replace(before, after)
    records = [parameter.get_help_record(context) for parameter in command.get_params(context)]
    rows = [[f"`{left.strip()}`", escaped(right)] for left, right in filter(None, records)]
    about = "\n\n".join(" ".join(part.split()) for part in command.help.split("\n\n"))
    options = table(["argument or option", "what it says"], rows)
    return [f"## {name}", about, f"```text\n{usage}\n```", options]


# Measured results -------------------------------------------------------------------------------


def load_evidence(name: str) -> dict[str, Any]:
    """Return what scripts/docs_evidence.py measured on one data set."""
    return json.loads((EVIDENCE / f"{name}.json").read_text(encoding="utf-8"))


def evidence(name: str) -> str:
    """Return the held-out results of every method on one data set, best first."""
    found = load_evidence(name)
    two_sided = ["two-sided NDCG@10"] if found["two_sided"] else []
    header = [
        "method", *two_sided, "mixed NDCG@10<br>image → text", "mixed NDCG@10<br>text → image",
        "R@1", "exposure<br>image, text", "mixing", "conser&shy;vation",
    ]  # fmt: skip
    rows = [
        _evidence_row(method, result, two_sided=found["two_sided"])
        for method, result in _ranked(found)
    ]
    rows += [[f"`{method}`", "cannot run here"] for method in found["failures"]]
    return table(header, (row + [""] * (len(header) - len(row)) for row in rows))


def _evidence_row(method: str, result: dict[str, Any], *, two_sided: bool) -> list[str]:
    values = result["values"]
    mixed, exposure = values["mixed_ndcg_at_10"], values["exposure_at_10"]
    cells = [_spread(values["two_sided_ndcg_at_10"]["mean"])] if two_sided else []
    return [
        f"`{method}`" if method != "raw" else "raw",
        *cells,
        _spread(mixed["image_to_text"]),
        _spread(mixed["text_to_image"]),
        _spread(values["recall_at_1"]["mean"]),
        "<br>".join(short(exposure[side][0]) for side in ("image_to_text", "text_to_image")),
        short(result["mixing"]),
        short(result["conservation"]),
    ]


def told(key: str) -> str:
    """Return one of the texts that the first page tells of the bundled scenes."""
    return str(load_evidence("scenes")["first_page"][key])


def overview(name: str) -> str:
    """Return a few measures of one data set side by side, raw and aligned, held out."""
    found = load_evidence(name)["overview"]
    rows = [
        [f"[`{measure}`][fillgap.metrics.{measure}]", *map(short, values)]
        for measure, values in found["measures"].items()
    ]
    return table(["measure", *found["methods"]], rows)


def methods_with_figures() -> str:
    """Return the table of the README: each method, its source, and held-out figures of two sets."""
    from fillgap.aligners import METHODS

    found = [load_evidence(name) for name in ("coco", "scenes")]
    rows = []
    for method in ["raw", *METHODS]:
        cls = METHODS.get(method)
        rows.append(
            [
                f"`{method}`" if cls else "raw embeddings",
                SOURCES[method],
                "pairs" if cls and cls.needs_pairs else "",
                *(_two_figures(results["results"].get(method)) for results in found),
            ]
        )
    return table(["method", "source", "needs", "COCO", "scenes"], rows)


def _two_figures(result: dict[str, Any] | None) -> str:
    """Return mixed NDCG@10 and recall@1, or that the method cannot run."""
    if result is None:
        return "cannot run"
    names = ("mixed_ndcg_at_10", "recall_at_1")
    return " / ".join(short(result["values"][name]["mean"][0]) for name in names)


def _ranked(found: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    objective = "two_sided_ndcg_at_10" if found["two_sided"] else "mixed_ndcg_at_10"
    return sorted(
        found["results"].items(), key=lambda item: -item[1]["values"][objective]["mean"][0]
    )


def short(number: float) -> str:
    """Return a number with two decimals, and without a leading zero."""
    return f"{number:.2f}".replace("0.", ".", 1) if abs(number) < 1 else f"{number:.2f}"


def _spread(numbers: Sequence[float]) -> str:
    value, low, high = map(short, numbers)
    return f"{value}<br><small>{low} to {high}</small>"


#: Where each method comes from, in the words of the README.
SOURCES = {
    "raw": "",
    "balanced": "this project; balancing of control theory (Laub et al. 1987)",
    "refined": "this project; InfoNCE over the mixed pool",
    "spectral": "Fill the Gap (arXiv:2505.03703), in closed form (Dhillon 2001)",
    "laplace-transport": "Fill the Gap; Ferradans et al. 2014",
    "mean-centering": "GR-CLIP (arXiv:2507.19054)",
    "embedding-shift": "Mind the Gap (arXiv:2203.02053)",
    "standardisation": "classical",
    "whitening": "classical, with a ridge",
    "pca-projection": "baseline of Fill the Gap",
    "dimension-removal": "baseline of Decipher the Modality Gap (arXiv:2510.03268)",
    "gaussian-transport": "Knott and Smith 1984",
    "orthogonal-procrustes": "Schönemann 1966",
    "ridge-regression": "Hoerl and Kennard 1970",
    "cca": "Hotelling 1936",
    "shared-space-projection": "Decipher the Modality Gap",
    "hyperplane-rotation": "Decipher the Modality Gap; Davis and Kahan 1970",
    "translation": "baseline of Decipher the Modality Gap",
}

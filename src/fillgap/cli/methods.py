"""fillgap methods: what there is to choose from."""

from __future__ import annotations

from fillgap.cli.options import AsJson
from fillgap.cli.output import print_json, print_table

__all__ = ["methods"]


def methods(*, as_json: AsJson = False) -> None:
    """List the methods with what they need and their parameters."""
    from inspect import getdoc

    from fillgap.aligners import METHODS

    rows = []
    for name, cls in METHODS.items():
        summary = (getdoc(cls) or "").partition("\n")[0]
        rows.append(
            {
                "method": name,
                "class": cls.__name__,
                "summary": summary,
                "needs_pairs": cls.needs_pairs,
                "linear": cls.linear,
                "passes": cls.passes,
                "parameters": cls().get_params(),
            }
        )
    if as_json:
        print_json(rows)
        return
    needs = {True: "pairs", False: ""}
    print_table(
        ["method", "what it does", "needs", "parameters"],
        [
            [
                row["method"],
                row["summary"],
                needs[row["needs_pairs"]],
                ", ".join(key for key in row["parameters"] if key != "normalize"),
            ]
            for row in rows
        ],
    )

"""The command line: it translates words to calls, and refusals to one line and an exit code."""

from __future__ import annotations

import sys
from collections.abc import Sequence

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with its code.

    Exit codes: 0 done, 1 a fault of ours, 2 wrong input, 3 ran correctly but a stated check does
    not hold, 130 interrupted.
    """
    from fillgap.cli.app import run

    sys.exit(run(sys.argv[1:] if arguments is None else list(arguments)))

"""The command line: it translates words to calls, and refusals to one line and an exit code."""

from fillgap.cli.app import main

__all__ = ["main"]

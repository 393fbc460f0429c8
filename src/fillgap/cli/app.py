"""The commands in one place, and what becomes of an error."""

from __future__ import annotations

import os
import sys

import typer

from fillgap.cli import demo, embedding, fitting, judging, measuring, reproducing, searching

app = typer.Typer(
    name="fillgap",
    help="Measure the modality gap of image-text embeddings, close it, and prove what that did.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("embed")(embedding.embed)
app.command("measure")(measuring.measure)
app.command("compare")(judging.compare)
app.command("recommend")(judging.recommend)
app.command("fit")(fitting.fit)
app.command("grid-search")(judging.grid_search)
app.command("apply")(fitting.apply)
app.command("export")(searching.export)
app.command("report")(measuring.report)
app.command("index")(searching.index)
app.command("search")(searching.search)
app.command("serve")(searching.serve)
app.command("methods")(fitting.methods)
app.command("theory")(reproducing.theory)
app.command("sweep-gap")(reproducing.sweep_gap)
app.add_typer(judging.app, name="bench")
app.add_typer(reproducing.app, name="reproduce")
app.command("experiment")(reproducing.experiment)
app.command("demo")(demo.demo)


@app.callback(invoke_without_command=True)
def _version(
    context: typer.Context,
    version: bool = typer.Option(False, "--version", help="Print the version and exit."),
) -> None:
    if version:
        from fillgap import __version__

        typer.echo(f"fillgap {__version__}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
        raise typer.Exit(2)


def run(arguments: list[str]) -> int:
    """Run one command and return its exit code; no error reaches the user as a traceback."""
    try:
        code = app(args=arguments, standalone_mode=False)
    except Exception as error:
        return _report_error(error)
    except KeyboardInterrupt:
        code = 130
    if code == 130:
        return _say("interrupted; nothing half-written is left.", 130)
    return code if isinstance(code, int) else 0


def _report_error(error: Exception) -> int:
    """Say in one line what is wrong, and return the exit code."""
    if type(error).__name__ == "Abort":  # what typer makes of Ctrl-C
        return _say("interrupted; nothing half-written is left.", 130)
    if hasattr(error, "format_message"):  # a usage error: unknown option, missing argument
        return _say(" ".join(error.format_message().split()), 2)
    if isinstance(error, BrokenPipeError):  # the reader of stdout went away, as head does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    from sklearn.exceptions import NotFittedError

    from fillgap.errors import InputError, InputTypeError

    message = " ".join(str(error).split())
    outside = _outside_of_us(error)
    if outside or isinstance(error, (InputError, InputTypeError, ImportError, NotFittedError)):
        return _say(outside or message, 2)
    if os.environ.get("FILLGAP_DEBUG"):
        raise error
    return _say(
        f"{type(error).__name__}: {message}. This is a fault of fillgap: please report it with the "
        "output of the same command under FILLGAP_DEBUG=1.",
        1,
    )


def _outside_of_us(error: Exception) -> str | None:
    """Return what to say where the machine or its files set the limit, or None."""
    if isinstance(error, MemoryError):
        return "there is not enough memory for this. Use fewer rows or a machine with more."
    if isinstance(error, OSError) and error.errno is not None and error.filename is not None:
        return (
            f"{error.filename} must be accessible, got {os.strerror(error.errno)!r}. "
            "Check the path, its permissions and the disk."
        )
    return None


def _say(message: str, code: int) -> int:
    typer.echo(f"fillgap: {message}", err=True)
    return code

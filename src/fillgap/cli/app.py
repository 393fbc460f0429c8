"""The commands in one place, the demonstration of all, and what becomes of an error."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fillgap.cli import fitting, judging, measuring, reproducing, searching
from fillgap.cli.options import Overwrite, Quiet
from fillgap.cli.output import say

if TYPE_CHECKING:
    from fillgap.pair import EmbeddingPair

app = typer.Typer(
    name="fillgap",
    help="Measure the modality gap of image-text embeddings, close it, and prove what that did.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (
    *(fitting.embed, measuring.measure, judging.compare, judging.recommend, fitting.fit),
    *(judging.grid_search, fitting.apply, searching.export, measuring.report, searching.index),
    *(searching.search, searching.serve, fitting.methods, reproducing.theory),
    *(reproducing.sweep_gap, reproducing.experiment),
):
    app.command()(command)
app.add_typer(judging.app, name="bench")
app.add_typer(reproducing.app, name="reproduce")


@app.callback(invoke_without_command=True)
def _version(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    if version:
        from fillgap import __version__

        say(f"fillgap {__version__}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        say(context.get_help())
        raise typer.Exit(2)


@app.command("demo")
def demo(
    *,
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="FOLDER", help="Where to write.")
    ] = Path("fillgap-demo"),
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> None:
    """Show the whole way on bundled scenes of handwritten digits: no network, no data needed.

    Every step is a command that works the same on your own files, and is shown before it runs.
    """
    from fillgap.datasets.scenes import load_digit_scenes
    from fillgap.files import check_target

    check_target(out, overwrite=overwrite)
    for folder in ("fitting", "checking", "aligned"):
        (out / folder).mkdir(parents=True, exist_ok=True)
    say("Scenes of handwritten digits with two captions each: 1000 to fit on, 2500 to check on.")
    to_fit = _write(load_digit_scenes("fitting"), out / "fitting")
    checking = _write(load_digit_scenes("evaluation"), out / "checking")

    def step(title: str, *words: str, new: bool = False) -> Any:
        say(f"\n# {title}")
        say(f"$ fillgap {' '.join(words)}")
        more = ["--overwrite"] * new + ["--quiet"] * quiet
        return app(args=[*words, *more], standalone_mode=False)

    step("How large is the gap?", "measure", *checking)
    found = step("Which method closes it? Judged on held-out scenes.", "compare", *to_fit)
    method = found.recommendation.method
    if method is None:
        return
    aligner = str(out / "aligner.safetensors")
    step("Fit it to all of them.", "fit", method, *to_fit, "-o", aligner, new=True)
    aligned = []
    for modality, file in zip(("image", "text"), checking, strict=True):
        aligned.append(str(out / "aligned" / Path(file).name))
        words = [aligner, file, "--modality", modality, "-o", aligned[-1]]
        step("Apply it to scenes that it has not seen.", "apply", *words, new=True)
    step("How large is the gap now?", "measure", *aligned)
    words = [*checking, "--aligner", aligner, "--quick", "-o", str(out / "report.html")]
    step("All of it on one page, to look at and to pass on.", "report", *words, new=True)


def _write(pair: EmbeddingPair, folder: Path) -> list[str]:
    """Write both sides as Parquet, the texts with their captions and the row of their image."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from fillgap.files import atomic_file

    texts = {"caption": pair.captions, "image_index": pair.image_index}
    paths = [folder / "images.parquet", folder / "texts.parquet"]
    for path, rows, columns in zip(paths, (pair.images, pair.texts), ({}, texts), strict=True):
        values = pa.array(rows.ravel())
        vectors = pa.FixedSizeListArray.from_arrays(values, pair.n_features)
        with atomic_file(path) as temporary:
            pq.write_table(pa.table({"embedding": vectors, **columns}), temporary)
    return [str(path) for path in paths]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with its code.

    Exit codes: 0 done, 1 a fault of ours, 2 wrong input, 3 ran correctly but a stated check does
    not hold, 130 interrupted.
    """
    sys.exit(run(sys.argv[1:] if arguments is None else list(arguments)))


def run(arguments: list[str]) -> int:
    """Run one command and return its exit code; no error reaches the user as a traceback."""
    message = None
    try:
        code = app(args=arguments, standalone_mode=False)
    except BrokenPipeError:  # the reader of stdout went away, as head does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        code = 130
    except Exception as error:
        if type(error).__name__ == "NoArgsIsHelpError":  # its message is the help itself
            typer.echo(error.format_message(), err=True)  # type: ignore[attr-defined]
            return 2
        message, code = _explain(error)
    if code == 130:
        message = "interrupted; nothing half-written is left."
    if message is not None:
        typer.echo(f"fillgap: {message}", err=True)
    return code if isinstance(code, int) else 0


def _explain(error: Exception) -> tuple[str, int]:
    """Return in one line what is wrong, and the exit code."""
    if type(error).__name__ == "Abort":  # what typer makes of Ctrl-C
        return "", 130
    if hasattr(error, "format_message"):  # a usage error: unknown option, missing argument
        return " ".join(error.format_message().split()), 2
    from sklearn.exceptions import NotFittedError

    from fillgap.errors import InputError, InputTypeError

    message = " ".join(str(error).split())
    if isinstance(error, MemoryError):
        message = "there is not enough memory for this. Use fewer rows or a machine with more."
    elif isinstance(error, OSError) and error.errno is not None and error.filename is not None:
        message = (
            f"{error.filename} must be accessible, got {os.strerror(error.errno)!r}. "
            "Check the path, its permissions and the disk."
        )
    elif not isinstance(error, (InputError, InputTypeError, ImportError, NotFittedError)):
        if os.environ.get("FILLGAP_DEBUG"):
            raise error
        return (
            f"{type(error).__name__}: {message}. This is a fault of fillgap: please report it with "
            "the output of the same command under FILLGAP_DEBUG=1."
        ), 1
    return message, 2

"""fillgap demo: the whole way on the bundled data, without network."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from fillgap.cli import fitting, judging, measuring
from fillgap.cli.judging import print_comparison
from fillgap.cli.options import Overwrite, Quiet
from fillgap.cli.output import say

if TYPE_CHECKING:
    from fillgap.pair import EmbeddingPair


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

    _show("How large is the gap?", "measure", *checking)
    measuring.measure(*checking, quiet=quiet)
    _show("Which method closes it? Judged on held-out scenes.", "compare", *to_fit)
    found = judging.judge(*to_fit, quiet=quiet)
    print_comparison(found)
    method = found.recommendation.method
    if method is None:
        return
    aligner = out / "aligner.safetensors"
    _show("Fit it to all of them.", "fit", method, *to_fit, "-o", str(aligner))
    fitting.fit(method, *to_fit, out=aligner, overwrite=True, quiet=quiet)
    aligned = []
    modality: Literal["image", "text"]
    for modality, file in (("image", checking[0]), ("text", checking[1])):
        target = out / "aligned" / Path(file).name
        words = f"{aligner} {file} --modality {modality} -o {target}"
        _show("Apply it to scenes that it has not seen.", "apply", words)
        fitting.apply(aligner, [file], modality=modality, out=target, overwrite=True, quiet=quiet)
        aligned.append(str(target))
    _show("How large is the gap now?", "measure", *aligned)
    measuring.measure(*aligned, quiet=quiet)
    page = out / "report.html"
    words = f"--aligner {aligner} --quick -o {page}"
    _show("All of it on one page, to look at and to pass on.", "report", *checking, words)
    measuring.report(*checking, aligner=aligner, out=page, quick=True, overwrite=True, quiet=quiet)


def _show(what: str, *words: str) -> None:
    """Print what comes next and the command that does it."""
    say()
    say(f"# {what}")
    say(f"$ fillgap {' '.join(words)}")


def _write(pair: EmbeddingPair, folder: Path) -> tuple[str, str]:
    """Write both sides as Parquet, the texts with their captions and the row of their image."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from fillgap.files import atomic_file

    texts = {"caption": pair.captions, "image_index": pair.image_index}
    written = []
    for name, rows, columns in (("images", pair.images, {}), ("texts", pair.texts, texts)):
        values = pa.array(rows.ravel())
        vectors = pa.FixedSizeListArray.from_arrays(values, pair.n_features)
        path = folder / f"{name}.parquet"
        with atomic_file(path) as temporary:
            pq.write_table(pa.table({"embedding": vectors, **columns}), temporary)
        written.append(str(path))
    return written[0], written[1]

"""The leaderboard of mixed search as Markdown and as one self-contained page."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Final

from fillgap.evaluation.estimates import Estimate
from fillgap.evaluation.leaderboard import Leaderboard, Line
from fillgap.experiments.bench_published import Versus

__all__ = ["sentence_of", "to_html", "to_markdown"]

TITLES: Final = {
    "two_sided_ndcg_at_10": "two-sided NDCG@10",
    "mixed_ndcg_at_10": "mixed NDCG@10",
    "recall_at_1": "recall@1 within the other modality",
    "ndcg_at_10": "NDCG@10 within the other modality",
    "mixed_ndcg_at_10.image": "of images",
    "mixed_ndcg_at_10.text": "of texts",
    "mixed_ndcg_at_10.image+text": "of both in one",
}

EXPOSURES: Final = {
    "image_to_text": "image queries",
    "text_to_image": "text queries",
    "image": "of images",
    "text": "of texts",
    "image+text": "of both in one",
}

_STYLE: Final = """
body{font:16px/1.5 system-ui,sans-serif;margin:0 auto;max-width:75rem;padding:1rem;color:#222}
.wide{overflow-x:auto}table{border-collapse:collapse;font-size:.9rem}
td+td{white-space:nowrap}th{vertical-align:bottom}
th,td{padding:.3rem .7rem;text-align:right;border-bottom:1px solid #ddd}
th:first-child,td:first-child{text-align:left}small{color:#666}
@media(prefers-color-scheme:dark){body{background:#16181c;color:#e6e6e6}td,th{border-color:#444}
small{color:#aaa}}
"""


def to_markdown(board: Leaderboard, versus: Sequence[Versus] = ()) -> str:
    """Return a leaderboard as Markdown, with what was chosen against published methods."""
    header, rows = _table(board)
    parts = [f"# Mixed search: {board.data}\n", f"{_about(board)}\n"]
    parts += [f"- {sentence_of(one)}" for one in versus] + [""] * bool(versus)
    parts.append("| " + " | ".join(header) + " |")
    parts.append("| --- |" + " ---: |" * (len(header) - 1))
    parts += ["| " + " | ".join(cells) + " |" for cells in rows]
    parts += [f"\n{what} cannot run: {why}" for what, why in board.failures.items()]
    return "\n".join(parts) + "\n"


def to_html(board: Leaderboard, versus: Sequence[Versus] = ()) -> str:
    """Return the same as one page that fetches nothing."""
    header, rows = _table(board)
    head = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in header)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in cells) + "</tr>" for cells in rows
    )
    failed = "".join(
        f"<p>{escape(str(what))} cannot run: {escape(why)}</p>"
        for what, why in board.failures.items()
    )
    against = "".join(f"<p>{escape(sentence_of(one))}</p>" for one in versus)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>Mixed search</title><style>{_STYLE}</style></head>"
        f"<body><h1>Mixed search: {escape(board.data)}</h1><p>{escape(_about(board))}</p>{against}"
        f'<div class="wide" tabindex="0"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>{failed}</body></html>\n"
    )


def sentence_of(one: Versus) -> str:
    """Return a choice against a published method in one sentence, and what it costs in another."""
    names = list(dict.fromkeys(map(str, one.chosen)))
    own = " and ".join(names) + (
        ", each judged on the half that the other was chosen by" * (len(names) > 1)
    )
    text = (
        f"{TITLES[one.measure]}: what is chosen ({own}) reaches {one.ours.value:.3f}, {one.kind} "
        f"({one.published}) {one.theirs.value:.3f}: {one.change.value:+.3f}, 95 % interval "
        f"{one.change.low:+.3f} to {one.change.high:+.3f}, p = {one.p_value:.4f}."
    )
    for whose, exposure in (("its", one.our_exposure), ("theirs", one.their_exposure)):
        text += " Exposure" * (whose == "its") + ";" * (whose == "theirs")
        text += f" {whose} " + ", ".join(f"{value:.2f}" for value in exposure.values())
    text += "."
    if one.loss is not None:
        text += f" Recall@1 within the other modality changes by {-one.loss:+.3f} from raw."
    if one.of_other is not None:
        text += f" That is {one.of_other:.0%} of its NDCG@10 within the other modality alone."
    return text


def _about(board: Leaderboard) -> str:
    whose = ", ".join(EXPOSURES.get(name, name) for name in board.lines[0].exposure)
    return (
        f"{board.about} 95 % intervals; p of the gain over raw by paired permutation, corrected by "
        f"Holm. Exposure: 1 is fair; {whose}."
    )


def _table(board: Leaderboard) -> tuple[list[str], list[list[str]]]:
    names = list(board.lines[0].estimates)
    header = ["aligner + calibration", *(TITLES[name] for name in names), "p", "exposure"]
    return header, [_row(line, names, board.objective) for line in board.lines]


def _row(line: Line, names: Sequence[str], objective: str) -> list[str]:
    p = line.p_values.get(objective)
    exposure = ", ".join(f"{side.value:.2f}" for side in line.exposure.values())
    cells = [_interval(line.estimates[name]) for name in names]
    return [str(line.what), *cells, "" if p is None else f"{p:.3f}", exposure]


def _interval(item: Estimate) -> str:
    return f"{item.value:.3f} [{item.low:.3f}, {item.high:.3f}]"

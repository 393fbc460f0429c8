"""What this program chooses, held out, against the best published method in hindsight."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any, Final

import numpy as np

from fillgap.errors import check_random_state
from fillgap.evaluation.combine import FUSIONS
from fillgap.evaluation.compare import FAIR_EXPOSURE, LABELS
from fillgap.evaluation.leaderboard import EXPOSURE, Combination, Leaderboard, Tally, interval
from fillgap.evaluation.recommend import choose
from fillgap.evaluation.statistics import Estimate, paired_permutation_test
from fillgap.metrics.pool import Values

#: Aligners of this project.
_OURS: Final = ("balanced", "refined")
#: Calibrations known from elsewhere; two of them after one another are not.
_PUBLISHED: Final = (
    "z-score",
    "z-score on all",
    "quantile-map",
    "nnn",
    "csls",
    "qb-norm",
    "relevance-probability",
)


@dataclass(frozen=True, eq=False)
class Versus:
    """The choice of this program against one published method, in one measure."""

    measure: str
    #: By the one half of the images and by the other; each is judged on the half it was not chosen
    #: by. Raw embeddings mean that it said to leave them as they are.
    chosen: tuple[Combination, Combination]
    published: Combination
    kind: str  # which published methods were looked at, in words
    ours: Estimate
    theirs: Estimate
    change: Estimate  # of the paired differences
    p_value: float  # of a paired permutation test
    our_exposure: Mapping[str, float]  # by direction
    their_exposure: Mapping[str, float]
    loss: float | None  # recall@1 within the other modality that the choice loses against raw
    of_other: float | None  # share that it reaches of its own NDCG@10 within the other modality

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON can hold it."""
        named = {"chosen": [str(one) for one in self.chosen], "published": str(self.published)}
        estimates = {name: getattr(self, name).to_dict() for name in ("ours", "theirs", "change")}
        return {**vars(self), **named, **estimates}


def is_published(what: Combination) -> bool:
    """Return whether a combination is one method known from elsewhere, alone."""
    if what.calibration == "none":
        return what.aligner not in _OURS
    return what.aligner == "raw" and what.calibration in {*_PUBLISHED, *FUSIONS}


def against_published(
    board: Leaderboard,
    *,
    max_loss: float = 0.02,
    n_resamples: int = 1000,
    random_state: int = 0,
) -> list[Versus]:
    """Return the choice against the best published method, two-sided and one-sided.

    Where all items are in the pool on both sides, scores can be had by always showing one modality
    first: there the published methods are those within a fair exposure, as the choice must be.
    Where the best of them merges two lists, the best of the others is added.
    """
    options = {"n_resamples": n_resamples, "random_state": random_state}
    low, high = FAIR_EXPOSURE
    found = []
    for measure in LABELS:
        if measure not in board.lines[0].estimates:
            continue
        one_sided = "ndcg_at_10" in board.lines[0].estimates  # each item is there twice
        choice = _choice(board, measure, max_loss, options, fair=one_sided)
        fair = one_sided and measure == "mixed_ndcg_at_10"
        lines = [
            line
            for line in board.lines
            if is_published(line.what)
            and (not fair or all(low <= one.value <= high for one in line.exposure.values()))
        ]
        lines.sort(key=lambda line: -line.estimates[measure].value)
        rivals = [line.what for line in lines]
        kind = "the best single published method" + " of fair exposure" * fair
        shown = [(rivals[0], kind)] if rivals else []
        scored = [one for one in rivals if one.calibration not in FUSIONS]
        if shown and rivals[0].calibration in FUSIONS and scored:
            shown.append((scored[0], kind + " that does not merge two lists"))
        found += [
            _versus(board, measure, choice, what, kind=words, options=options)
            for what, words in shown
        ]
    return found


def _choice(
    board: Leaderboard,
    measure: str,
    max_loss: float,
    options: Mapping[str, int],
    *,
    fair: bool,
) -> tuple[dict[str, Values], tuple[Combination, Combination]]:
    """Return the values of the choice, each from the half that it was not chosen by."""
    candidates = {
        what: {measure: found[measure], **found}
        for what, found in board.values.items()
        if what.calibration not in FUSIONS
    }
    n = len(candidates[Combination()][measure])
    first = check_random_state(options["random_state"]).permutation(n) % 2 == 0
    picked = []
    for half in (first, ~first):
        part = {
            what: {name: values[half] for name, values in found.items()}
            for what, found in candidates.items()
        }
        smaller = Leaderboard.from_values(
            board.data, part, Tally(), about="", n_judged=int(half.sum()), **options
        )
        picked.append(choose(smaller, max_loss, fair=fair)[0] or Combination())
    ours = {
        name: np.where(first, candidates[picked[1]][name], candidates[picked[0]][name])
        for name in candidates[Combination()]
    }
    return ours, (picked[0], picked[1])


def _versus(
    board: Leaderboard,
    measure: str,
    choice: tuple[Mapping[str, Values], tuple[Combination, Combination]],
    published: Combination,
    *,
    kind: str,
    options: Mapping[str, int],
) -> Versus:
    (ours, chosen), theirs, raw = choice, board.values[published], board.values[Combination()]
    change = ours[measure] - theirs[measure]
    alone = "ndcg_at_10" in raw and measure == "mixed_ndcg_at_10"
    seen = [name for name in raw if name.startswith(EXPOSURE)]
    return Versus(
        measure,
        chosen,
        published,
        kind,
        interval(ours[measure], **options),
        interval(theirs[measure], **options),
        interval(change, **options),
        paired_permutation_test(change[np.isfinite(change)], random_state=options["random_state"]),
        {name.removeprefix(EXPOSURE): _mean(ours, name) for name in seen},
        {name.removeprefix(EXPOSURE): _mean(theirs, name) for name in seen},
        _mean(raw, "recall_at_1") - _mean(ours, "recall_at_1") if "recall_at_1" in raw else None,
        _mean(ours, measure) / _mean(ours, "ndcg_at_10") if alone else None,
    )


def _mean(values: Mapping[str, Values], name: str) -> float:
    return float(np.nanmean(values[name]))


TITLES: Final = LABELS | {
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
    failed = [f"{what} cannot run: {why}" for what, why in board.failures.items()]
    below, against = (
        "".join(f"<p>{escape(line)}</p>" for line in lines)
        for lines in (failed, map(sentence_of, versus))
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>Mixed search</title><style>{_STYLE}</style></head>"
        f"<body><h1>Mixed search: {escape(board.data)}</h1><p>{escape(_about(board))}</p>{against}"
        f'<div class="wide" tabindex="0"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>{below}</body></html>\n"
    )


def sentence_of(one: Versus) -> str:
    """Return a choice against a published method in one sentence, and what it costs in another."""
    names = list(dict.fromkeys(map(str, one.chosen)))
    own = " and ".join(names)
    if len(names) > 1:
        own += ", each judged on the half that the other was chosen by"
    text = (
        f"{TITLES[one.measure]}: what is chosen ({own}) reaches {one.ours.value:.3f}, {one.kind} "
        f"({one.published}) {one.theirs.value:.3f}: {one.change.signed}, p = {one.p_value:.4f}."
    )
    ours, theirs = (
        ", ".join(f"{value:.2f}" for value in exposure.values())
        for exposure in (one.our_exposure, one.their_exposure)
    )
    text += f" Exposure its {ours}; theirs {theirs}."
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
    rows = []
    for line in board.lines:
        means = [line.estimates[name] for name in names]
        p = line.p_values.get(board.objective)
        rows.append(
            [
                str(line.what),
                *(f"{item.value:.3f} [{item.low:.3f}, {item.high:.3f}]" for item in means),
                "" if p is None else f"{p:.3f}",
                ", ".join(f"{side.value:.2f}" for side in line.exposure.values()),
            ]
        )
    return header, rows

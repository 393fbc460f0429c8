"""A comparison as the terminal shows it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fillgap.cli.output import number, print_table, say

if TYPE_CHECKING:
    from fillgap.evaluation import Comparison, MethodResult
    from fillgap.evaluation.comparison import Nested

__all__ = ["print_comparison"]


def print_comparison(found: Comparison) -> None:
    """Print the advice first, then the table that it rests on."""
    say(found.recommendation.sentence)
    say()
    say(
        f"{found.data}: {found.n_images} images and {found.n_texts} texts; "
        f"in each of {found.n_splits} splits {found.n_fit} images fitted on and "
        f"{found.n_test} others tested on; 95 % intervals."
    )
    two_sided = ["two-sided NDCG@10"] if found.two_sided else []
    header = ["NDCG@10", "recall@1", "exposure", "mixing", "conservation"]
    ranked = sorted(found.results.items(), key=lambda item: -_score(found, item[1]))
    print_table(
        ["method", *two_sided, *header],
        [[name, *_row(result, two_sided=found.two_sided)] for name, result in ranked],
    )
    say("NDCG@10: of a query's own items of the other modality, in the mixed pool.")
    say("recall@1: among the other modality alone. exposure: 1 is fair; image, text queries.")
    if not found.two_sided:
        say("Two-sided search: not available, it needs two texts for each image.")
    for kind, methods in found.quantised.items():
        say(f"\nStored in {kind}, of both sides: changes from the rows as they are.")
        rows = [[name, *_changes(changes)] for name, changes in methods.items()]
        print_table(["method", *("two-sided",) * found.two_sided, "NDCG@10", "recall@1"], rows)
    for name, reason in found.failures.items():
        say(f"{name} cannot run on these data: {reason}")
    for name, result in found.results.items():
        for note in result.notes:
            say(f"{name}: {note}")


def _score(found: Comparison, result: MethodResult) -> float:
    return result.estimates[found.recommendation.objective]["mean"].value


def _row(result: MethodResult, *, two_sided: bool) -> list[str]:
    names = ["two_sided_ndcg_at_10"] * two_sided + ["mixed_ndcg_at_10", "recall_at_1"]
    cells = []
    for name in names:
        item = result.estimates[name]["mean"]
        cells.append(f"{_short(item.value)} [{_short(item.low)}, {_short(item.high)}]")
    exposure = result.estimates["exposure_at_10"]
    sides = (exposure["image_to_text"].value, exposure["text_to_image"].value)
    cells.append(", ".join(number(side, 2) for side in sides))
    return [*cells, number(result.mixing, 2), number(result.conservation, 2)]


def _changes(changes: Nested) -> list[str]:
    names = ("two_sided_ndcg_at_10", "mixed_ndcg_at_10", "recall_at_1")
    means = [changes[name]["mean"] for name in names if name in changes]
    return [f"{m.value:+.4f} [{m.low:+.4f}, {m.high:+.4f}]" for m in means]


def _short(share: float) -> str:
    """Return a share without the zero before its point, so that intervals fit in a line."""
    return number(share).replace("0.", ".", 1)

"""The cells that "Decipher the Modality Gap" (arXiv:2510.03268) prints in its tables 1 to 3.

Angles in degrees, all else in percent. They are of CLIP on public benchmarks.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, TypeAlias

from fillgap._checks import check_choice

__all__ = [
    "DATASETS",
    "MODELS",
    "RETRIEVAL_COLUMN",
    "RETRIEVAL_MEASURES",
    "ZERO_SHOT_MEASURES",
    "printed_retrieval",
    "printed_zero_shot",
]

#: From method to measure to the printed number.
Cells: TypeAlias = Mapping[str, Mapping[str, float]]

MODELS: Final = ("B/32", "L/14")
DATASETS: Final = ("CIFAR10", "CIFAR100", "ImageNet")
#: The one model and data set of table 3.
RETRIEVAL_COLUMN: Final = ("L/14", "MSCOCO")

ZERO_SHOT_MEASURES: Final = ("gap_angle", "top_1", "top_5")
RETRIEVAL_MEASURES: Final = (
    "gap_angle",
    *(f"image_to_text_recall_at_{k}" for k in (1, 5, 10)),
    *(f"text_to_image_recall_at_{k}" for k in (1, 5, 10)),
)

_METHODS = ("raw", "translation", "dimension-removal", "shared-space-projection")
_ZERO_SHOT: Final = {
    ("B/32", "CIFAR10"): (
        (74.69, 89.00, 99.36), (7.02, 80.97, 96.09), (72.50, 14.91, 56.22), (5.37, 86.43, 99.27),
    ),
    ("B/32", "CIFAR100"): (
        (74.19, 65.23, 88.88), (30.50, 54.46, 77.25), (73.16, 6.44, 16.82), (30.39, 64.51, 88.79),
    ),
    ("B/32", "ImageNet"): (
        (71.02, 63.34, 88.82), (51.68, 60.37, 86.93), (69.71, 49.50, 78.55), (50.40, 62.45, 88.41),
    ),
    ("L/14", "CIFAR10"): (
        (77.63, 95.12, 99.46), (14.73, 92.39, 98.97), (79.36, 12.23, 62.33), (13.27, 95.12, 99.46),
    ),
    ("L/14", "CIFAR100"): (
        (77.13, 78.44, 94.02), (38.68, 71.13, 87.56), (80.71, 9.57, 23.64), (37.73, 77.72, 93.99),
    ),
    ("L/14", "ImageNet"): (
        (77.29, 75.56, 94.58), (62.61, 74.05, 94.10), (76.84, 67.04, 89.76), (62.40, 75.26, 94.51),
    ),
}  # fmt: skip
_RETRIEVAL: Final = (
    (78.16, 56.06, 79.56, 86.84, 35.33, 59.96, 70.21),
    (68.49, 54.14, 78.32, 86.30, 35.13, 59.79, 69.85),
    (76.03, 49.56, 73.42, 82.18, 31.23, 54.29, 65.00),
    (68.06, 55.54, 78.94, 86.64, 35.22, 59.86, 70.22),
)


def printed_zero_shot(model: str, dataset: str) -> Cells:
    """Return the cells of tables 1 and 2 for one model and data set, by method and measure.

    Raises
    ------
    InputError
        If the tables hold no such model or data set.
    """
    check_choice(model, "model", MODELS)
    check_choice(dataset, "dataset", DATASETS)
    return _named(_ZERO_SHOT[model, dataset], ZERO_SHOT_MEASURES)


def printed_retrieval() -> Cells:
    """Return the cells of table 3, by method and measure."""
    return _named(_RETRIEVAL, RETRIEVAL_MEASURES)


def _named(rows: tuple[tuple[float, ...], ...], measures: tuple[str, ...]) -> Cells:
    return {
        method: dict(zip(measures, row, strict=True))
        for method, row in zip(_METHODS, rows, strict=True)
    }

"""Data that come with the package, and images with captions in the layouts people have them in."""

from fillgap.datasets.catalogue import open_dataset
from fillgap.datasets.folders import class_sentences
from fillgap.datasets.judged import Judged, JudgedItem, is_judged, open_judged
from fillgap.datasets.records import (
    Collector,
    Dataset,
    FolderImages,
    ListedDataset,
    Record,
    draw_pairs,
)
from fillgap.datasets.scenes import ClassPrompts, load_class_prompts, load_digit_scenes

__all__ = [
    "ClassPrompts",
    "Collector",
    "Dataset",
    "FolderImages",
    "Judged",
    "JudgedItem",
    "ListedDataset",
    "Record",
    "class_sentences",
    "draw_pairs",
    "is_judged",
    "load_class_prompts",
    "load_digit_scenes",
    "open_dataset",
    "open_judged",
]

"""Data that come with the package, and images with captions in the layouts people have them in."""

from fillgap.datasets._classes import class_sentences
from fillgap.datasets._collect import Collector, ListedDataset
from fillgap.datasets._digit_scenes import ClassPrompts, load_class_prompts, load_digit_scenes
from fillgap.datasets._draw import draw_pairs
from fillgap.datasets._files import FolderImages
from fillgap.datasets._judged import Judged, JudgedItem, is_judged, open_judged
from fillgap.datasets._open import open_dataset
from fillgap.datasets._record import Dataset, Record

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

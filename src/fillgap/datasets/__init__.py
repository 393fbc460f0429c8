"""Data that come with the package, and images with captions in the layouts people have them in."""

from fillgap.datasets.captioned import class_sentences
from fillgap.datasets.catalogue import open_dataset
from fillgap.datasets.records import Collector, Dataset, FolderImages, Record, draw_pairs
from fillgap.datasets.scenes import load_class_prompts, load_digit_scenes

__all__ = [
    "Collector",
    "Dataset",
    "FolderImages",
    "Record",
    "class_sentences",
    "draw_pairs",
    "load_class_prompts",
    "load_digit_scenes",
    "open_dataset",
]

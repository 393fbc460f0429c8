"""Data that come with the package."""

from fillgap.datasets._digit_scenes import ClassPrompts, load_class_prompts, load_digit_scenes

__all__ = ["ClassPrompts", "load_class_prompts", "load_digit_scenes"]

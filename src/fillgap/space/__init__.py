"""The space in which images and texts are comparable: an aligner, a calibration, and a file."""

from fillgap.space.mixed import MixedSpace
from fillgap.space.saving import load_space, save_space

__all__ = ["MixedSpace", "load_space", "save_space"]

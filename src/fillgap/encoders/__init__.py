"""Models that put pictures and texts into one space."""

from fillgap.encoders.base import Encoder, check_batches, load_picture, open_encoder
from fillgap.encoders.digits import DigitSceneEncoder

__all__ = ["DigitSceneEncoder", "Encoder", "check_batches", "load_picture", "open_encoder"]

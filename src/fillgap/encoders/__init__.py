"""Models that put pictures and texts into one space."""

from fillgap.encoders._base import Encoder
from fillgap.encoders._digit_scenes import DigitSceneEncoder, tokenise

__all__ = ["DigitSceneEncoder", "Encoder", "tokenise"]

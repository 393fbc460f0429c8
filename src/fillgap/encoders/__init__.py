"""Models that put pictures and texts into one space."""

from fillgap.encoders._base import Encoder, check_batches
from fillgap.encoders._digit_scenes import DigitSceneEncoder, tokenise
from fillgap.encoders._open import ENCODERS, open_encoder
from fillgap.encoders._pictures import Picture, load_picture, prefetch

__all__ = [
    "ENCODERS",
    "DigitSceneEncoder",
    "Encoder",
    "Picture",
    "check_batches",
    "load_picture",
    "open_encoder",
    "prefetch",
    "tokenise",
]

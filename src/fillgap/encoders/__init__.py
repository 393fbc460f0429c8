"""Models that put pictures and texts into one space."""

from fillgap.encoders.base import (
    ENCODERS,
    Encoder,
    Picture,
    check_batches,
    load_picture,
    open_encoder,
    prefetch,
)
from fillgap.encoders.digits import DigitSceneEncoder, tokenise

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

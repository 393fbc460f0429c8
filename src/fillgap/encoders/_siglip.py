"""SigLIP and SigLIP 2, as transformers loads them."""

from __future__ import annotations

from typing import ClassVar

from fillgap.encoders._clip import CLIPEncoder

__all__ = ["SigLIPEncoder"]


class SigLIPEncoder(CLIPEncoder):
    """Encode with SigLIP or SigLIP 2, of fixed resolution or not.

    Texts are padded to the length of the training (64 tokens): the text tower reads its vector at
    the last place, and shorter padding gives other vectors without any error.

    Parameters
    ----------
    model : str or path
        For example "google/siglip-base-patch16-224" or "google/siglip2-base-patch16-224".
    device, batch_size, revision
        As for every encoder that runs in PyTorch.

    References
    ----------
    Zhai et al., Sigmoid Loss for Language Image Pre-Training, 2023; Tschannen et al., SigLIP 2,
    2025.
    """

    _kind: ClassVar[str] = "a SigLIP model"
    _model_types: ClassVar[tuple[str, ...]] = ("siglip", "siglip2")
    _padding: ClassVar[str] = "max_length"

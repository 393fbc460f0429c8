"""PyTorch modules give what NumPy gives; folding is exact where it is offered."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from aligner_table import ROWS, Row
from conftest import make_gapped
from export_spaces import AFTER_NNN, bank_rows, hubness_space, needed, small_space
from fillgap import InputError, InputTypeError
from fillgap.aligners import (
    LaplaceTransport,
    MeanCentering,
    OrthogonalProcrustes,
    SharedSpaceProjection,
    SpectralAligner,
)
from fillgap.calibration import Calibration
from fillgap.export import fold, torch_module
from fillgap.space import MixedSpace

MODALITIES = ("image", "text")
SIZE = 12


@pytest.fixture(scope="module")
def torch() -> Any:
    return needed("torch")


@pytest.fixture(scope="module")
def clip(torch: Any) -> Any:
    """A CLIP model of a few thousand random weights."""
    transformers = needed("transformers")
    torch.manual_seed(0)
    small = {
        "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1,
        "num_attention_heads": 2, "projection_dim": SIZE,
    }  # fmt: skip
    config = transformers.CLIPConfig(
        text_config=small | {"vocab_size": 50, "max_position_embeddings": 8, "eos_token_id": 49},
        vision_config=small | {"image_size": 16, "patch_size": 8},
        projection_dim=SIZE,
    )
    return transformers.CLIPModel(config).eval()


def features(torch: Any, clip: Any, n: int = 40) -> dict[str, np.ndarray]:
    """Return what the towers give for random pictures and random words."""
    generator = torch.Generator().manual_seed(1)
    pixels = torch.rand((n, 3, 16, 16), generator=generator)
    words = torch.randint(1, 49, (n, 8), generator=generator)
    words[:, -1] = 49
    with torch.no_grad():
        found = (clip.get_image_features(pixel_values=pixels), clip.get_text_features(words))
    rows = [getattr(side, "pooler_output", side).numpy() for side in found]
    return dict(zip(MODALITIES, rows, strict=True))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_every_method_is_a_module(
    torch: Any, row: Row, gapped: tuple[np.ndarray, np.ndarray]
) -> None:
    space = MixedSpace(row.make().fit(*gapped))
    for modality, rows in zip(MODALITIES, gapped, strict=True):
        module = torch_module(space, modality)
        expected = space.align_documents(rows, modality)
        for kind, allowed in ((torch.float32, 2e-6), (torch.float64, 1e-6)):
            found = module(torch.tensor(rows, dtype=kind)).numpy()
            assert found == pytest.approx(expected, abs=allowed)


def test_modules_of_a_calibrated_space(torch: Any) -> None:
    space = small_space(query_means=True)
    rows = make_gapped(20, SIZE, seed=2)[1].astype(np.float32)
    given = torch.from_numpy(rows)
    stored = torch_module(space, "text", queries="image")(given).numpy()
    assert stored == pytest.approx(
        space.stored(rows, document="text", query="image"), rel=1e-5, abs=1e-5
    )
    asked = torch_module(space, "text", role="query", queries="text")(given).numpy()
    assert asked == pytest.approx(space.asked(rows, query="text"), abs=2e-6)
    with pytest.raises(InputError, match="queries must be 'text' for text queries, got 'image'"):
        torch_module(space, "text", role="query", queries="image")


@pytest.mark.parametrize("make", AFTER_NNN)
def test_an_offset_after_nnn_is_in_the_module(torch: Any, make: Callable[[], Calibration]) -> None:
    space = hubness_space(make())
    for modality, rows in zip(MODALITIES, bank_rows(), strict=True):
        for query in MODALITIES:
            module = torch_module(space, modality, queries=query)
            found = module(torch.from_numpy(rows)).numpy()
            expected = space.stored(rows, document=modality, query=query)
            assert found == pytest.approx(expected, rel=1e-5, abs=1e-4)


def test_a_module_is_saved_and_passes_gradients(torch: Any) -> None:
    module = torch_module(small_space(), "image")
    assert not list(module.parameters())
    rows = torch.rand((3, SIZE), requires_grad=True)
    module(rows).sum().backward()
    assert torch.isfinite(rows.grad).all()
    other = torch_module(small_space(), "image")
    other.load_state_dict(module.state_dict())
    assert torch.equal(other(rows), module(rows))


FOLDING = [
    OrthogonalProcrustes(center=False),
    SharedSpaceProjection(),
    SpectralAligner(n_components=5, negative="raise"),
]


@pytest.mark.parametrize("aligner", FOLDING, ids=lambda aligner: type(aligner).__name__)
@pytest.mark.filterwarnings("ignore:.* have a degree that is not positive")
def test_folded_towers_give_aligned_cosines(torch: Any, clip: Any, aligner: Any) -> None:
    # Positive rows, so that every degree of the spectral graph is positive; the map is then
    # applied to whatever the towers give.
    X, Y = (np.abs(side) for side in make_gapped(60, SIZE, seed=3))
    aligner.fit(X, Y)
    raw = features(torch, clip)
    with np.errstate(all="ignore"):
        expected = {
            "image": MixedSpace(aligner).align_documents(raw["image"], "image"),
            "text": MixedSpace(aligner).align_documents(raw["text"], "text"),
        }
    kept = clip.visual_projection, clip.text_projection
    before = kept[0].weight.detach().clone()
    try:
        clip.visual_projection = fold(aligner, kept[0], "image")
        clip.text_projection = fold(aligner, kept[1], "text")
        folded = features(torch, clip)
    finally:
        clip.visual_projection, clip.text_projection = kept
    assert torch.equal(kept[0].weight, before)
    unit = {m: rows / np.linalg.norm(rows, axis=1, keepdims=True) for m, rows in folded.items()}
    for modality in MODALITIES:
        assert unit[modality] == pytest.approx(expected[modality], abs=1e-5)
    assert unit["image"] @ unit["text"].T == pytest.approx(
        expected["image"] @ expected["text"].T, abs=1e-5
    )


def test_a_bias_is_folded_too(torch: Any) -> None:
    X, Y = make_gapped(60, SIZE, seed=4)
    aligner = OrthogonalProcrustes(center=False).fit(X, Y)
    layer = torch.nn.Linear(7, SIZE)
    rows = torch.rand((5, 7))
    folded = fold(aligner, layer, "image")(rows).detach().numpy()
    expected = aligner.transform(layer(rows).detach().numpy())
    assert folded / np.linalg.norm(folded, axis=1, keepdims=True) == pytest.approx(
        expected, abs=1e-5
    )


def test_what_cannot_be_folded_is_refused(torch: Any) -> None:
    X, Y = make_gapped(60, SIZE, seed=5)
    layer = torch.nn.Linear(7, SIZE, bias=False)
    offers = "must have no offset to be folded .* Append torch_module"
    for aligner in (MeanCentering(), OrthogonalProcrustes()):
        with pytest.raises(InputError, match=offers):
            fold(aligner.fit(X, Y), layer, "image")
    rotation = OrthogonalProcrustes(center=False).fit(X, Y)
    with pytest.raises(InputError, match="must have 12 outputs, .* got 9"):
        fold(rotation, torch.nn.Linear(7, 9), "image")
    with pytest.raises(InputTypeError, match=r"must be a torch.nn.Linear, got ReLU"):
        fold(rotation, torch.nn.ReLU(), "image")
    with pytest.raises(InputError, match="must be an aligner without calibration"):
        fold(small_space(), layer, "image")
    nearest = LaplaceTransport(max_iter=2, tol=1.0, extension="nearest").fit(X, Y)
    with pytest.raises(InputError, match="must be an affine map"):
        fold(nearest, layer, "image")

"""ONNX graphs and PyTorch modules give what NumPy gives; what they cannot do is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.exceptions import NotFittedError

from aligner_table import ROWS, Row
from conftest import make_gapped
from export_spaces import AFTER_NNN, bank_rows, calibrated, hubness_space, needed, small_space
from fillgap import InputError, InputTypeError
from fillgap.aligners import (
    LaplaceTransport,
    MeanCentering,
    OrthogonalProcrustes,
    SharedSpaceProjection,
    SpectralAligner,
    Whitening,
)
from fillgap.calibration import CSLS, Calibration, QBNorm
from fillgap.export import fold, onnx_model, torch_module
from fillgap.space import MixedSpace

MODALITIES = ("image", "text")
SIZE = 12
Outputs = Callable[..., dict[str, np.ndarray]]


def ran(model: Any, rows: np.ndarray) -> dict[str, np.ndarray]:
    """Run a model in ONNX Runtime, and return its outputs by name."""
    runtime = needed("onnxruntime")
    session = runtime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, {"rows": rows}), strict=True))


def onnx_outputs(space: Any, modality: Any, rows: np.ndarray, **role: Any) -> dict[str, np.ndarray]:
    return ran(onnx_model(space, modality, **role), rows.astype(np.float32))


def torch_outputs(
    space: Any, modality: Any, rows: np.ndarray, role: Any = "document"
) -> dict[str, np.ndarray]:
    given = needed("torch").from_numpy(rows)
    modules = {"aligned": torch_module(space, modality, role=role)}
    if space.calibration is not None and role == "query":
        modules["asked"] = torch_module(space, modality, role=role, queries=modality)
    elif space.calibration is not None:
        for query in MODALITIES:
            name = f"stored_for_{query}_queries"
            modules[name] = torch_module(space, modality, queries=query)
    return {name: module(given).numpy() for name, module in modules.items()}


@pytest.fixture(params=["onnx", "torch"])
def outputs(request: pytest.FixtureRequest) -> Outputs:
    """What computes the map of a modality, as a graph and as a module."""
    needed(request.param)
    return onnx_outputs if request.param == "onnx" else torch_outputs


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_every_method_is_exported(
    outputs: Outputs, row: Row, gapped: tuple[np.ndarray, np.ndarray]
) -> None:
    space = MixedSpace(row.make().fit(*gapped))
    for modality, rows in zip(MODALITIES, gapped, strict=True):
        expected = space.align_documents(rows, modality)
        found = outputs(space, modality, rows.astype(np.float32))
        assert set(found) == {"aligned"}
        assert found["aligned"] == pytest.approx(expected, abs=2e-6)
        if outputs is torch_outputs:
            wide = outputs(space, modality, rows.astype(np.float64))
            assert wide["aligned"] == pytest.approx(expected, abs=1e-6)


def test_real_rows_to_a_millionth(coco: tuple[np.ndarray, np.ndarray], outputs: Outputs) -> None:
    narrow = [side.astype(np.float32) for side in coco]
    for aligner in (MeanCentering(), Whitening()):
        space = calibrated(aligner.fit(*coco), *coco)
        for modality, rows in zip(MODALITIES, narrow, strict=True):
            found = outputs(space, modality, rows) | outputs(space, modality, rows, role="query")
            expected = space.align_documents(rows, modality)
            assert np.abs(found["aligned"] - expected).max() < 1e-6
            for query in MODALITIES:
                stored = space.stored(rows, document=modality, query=query)
                slope = np.linalg.norm(stored[:, :-1], axis=1).max()
                name = f"stored_for_{query}_queries"
                assert np.abs(found[name] - stored).max() < 1e-6 * slope
            asked = space.asked(rows, query=modality)
            assert np.abs(found["asked"] - asked).max() < 1e-6


def test_queries_have_their_own_map_where_they_have_their_own_mean(outputs: Outputs) -> None:
    space = small_space(query_means=True)
    rows = make_gapped(20, SIZE, seed=3)[1].astype(np.float32)
    documents, queries = (outputs(space, "text", rows, role=r) for r in ("document", "query"))
    assert set(queries) == {"aligned", "asked"}
    assert "asked" not in documents
    assert queries["aligned"] == pytest.approx(space.align_queries(rows, "text"), abs=2e-6)
    assert queries["asked"] == pytest.approx(space.asked(rows, query="text"), abs=2e-6)
    assert documents["aligned"] == pytest.approx(space.align_documents(rows, "text"), abs=2e-6)
    assert np.abs(queries["aligned"] - documents["aligned"]).max() > 0.01


@pytest.mark.parametrize("make", AFTER_NNN)
def test_an_offset_after_nnn_is_exported(outputs: Outputs, make: Callable[[], Calibration]) -> None:
    space = hubness_space(make())
    for modality, rows in zip(MODALITIES, bank_rows(), strict=True):
        found = outputs(space, modality, rows)
        for query in MODALITIES:
            expected = space.stored(rows, document=modality, query=query)
            got = found[f"stored_for_{query}_queries"]
            assert got == pytest.approx(expected, rel=1e-5, abs=1e-4)
            assert np.ptp(got[:, -1]) > 0.01


@pytest.mark.parametrize("n", [1, 7])
def test_half_precision_and_any_number_of_rows(n: int) -> None:
    needed("onnx")
    for space in (small_space(), hubness_space(AFTER_NNN[0]())):
        rows = make_gapped(8, SIZE, seed=4)[0][:n].astype(np.float16)
        found = ran(onnx_model(space, "image", dtype="float16"), rows)
        assert found["aligned"].dtype == np.float32
        assert found["aligned"] == pytest.approx(space.align_documents(rows, "image"), abs=1e-6)
        stored = space.stored(rows.astype(np.float32), document="image", query="text")
        assert found["stored_for_text_queries"] == pytest.approx(stored, rel=1e-5, abs=1e-4)


def test_no_row_leaves_the_range_and_a_zero_row_is_seen(outputs: Outputs) -> None:
    space, rows = small_space(), make_gapped(8, SIZE, seed=5)[0].astype(np.float32)
    expected = outputs(space, "image", rows)["aligned"]
    for scale in (1e-30, 1e30):
        found = outputs(space, "image", rows * np.float32(scale))["aligned"]
        assert found == pytest.approx(expected, abs=2e-6)
    rows[3] = 0
    found = outputs(space, "image", rows)["aligned"]
    assert np.isnan(found[3]).all()
    assert np.isfinite(np.delete(found, 3, axis=0)).all()


def test_a_graph_says_what_it_is() -> None:
    needed("onnx")
    space = small_space()
    model = onnx_model(space, "text")
    properties = {item.key: item.value for item in model.metadata_props}
    assert properties["fillgap.fingerprint"] == space.fingerprint
    assert properties["fillgap.modality"] == "text"
    assert model.opset_import[0].version == 13
    assert model.SerializeToString() == onnx_model(space, "text").SerializeToString()


def test_a_module_is_saved_and_passes_gradients() -> None:
    torch = needed("torch")
    module = torch_module(small_space(), "image")
    assert not list(module.parameters())
    rows = torch.rand((3, SIZE), requires_grad=True)
    module(rows).sum().backward()
    assert torch.isfinite(rows.grad).all()
    other = torch_module(small_space(), "image")
    other.load_state_dict(module.state_dict())
    assert torch.equal(other(rows), module(rows))


def nearest() -> LaplaceTransport:
    aligner = LaplaceTransport(max_iter=2, tol=1.0, extension="nearest")
    return aligner.fit(*make_gapped(60, SIZE, seed=5))


@pytest.mark.parametrize(
    ("source", "given", "error", "words"),
    [
        (MeanCentering, {}, NotFittedError, "must be fitted before it is exported"),
        (nearest, {}, InputError, "must be an affine map .* extension='affine'"),
        (dict, {}, InputTypeError, "must be a MixedSpace or a fitted aligner, got dict"),
        (small_space, {"modality": "images"}, InputError, "the modality must be one of"),
        (small_space, {"dtype": "int8"}, InputError, "dtype must be one of"),
        (small_space, {"role": "both"}, InputError, "role must be one of"),
        *[
            (lambda kind=kind: hubness_space(kind()), {"role": role}, InputError, words)
            for role in ("document", "query")
            for kind, words in (
                (QBNorm, "one map for all .* after NNN, got QBNorm.* Keep vectors of space.stored"),
                (CSLS, "one map for all .* after NNN, got CSLS.* Apply space.calibrate"),
            )
        ],
    ],
)
def test_what_is_no_graph_is_refused(
    source: Callable[[], Any], given: dict[str, Any], error: type[Exception], words: str
) -> None:
    needed("onnx")
    with pytest.raises(error, match=words):
        onnx_model(source(), **{"modality": "image", **given})


def test_a_module_is_for_queries_of_its_own_modality() -> None:
    needed("torch")
    with pytest.raises(InputError, match="queries must be 'text' for text queries, got 'image'"):
        torch_module(small_space(), "text", role="query", queries="image")


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A CLIP model of a few thousand random weights, whose text tower has a projection too."""
    transformers = needed("transformers")
    from tiny_models import save_clip

    folder: Path = save_clip(tmp_path_factory.mktemp("clip"))
    return transformers.CLIPModel.from_pretrained(folder).eval()


def features(clip: Any, n: int = 40) -> dict[str, np.ndarray]:
    """Return what the towers give for random pictures and random words."""
    torch = needed("torch")
    generator = torch.Generator().manual_seed(1)
    pixels = torch.rand((n, 3, 16, 16), generator=generator)
    words = torch.randint(4, 40, (n, 8), generator=generator)
    words[:, -1] = 3
    with torch.no_grad():
        found = (clip.get_image_features(pixel_values=pixels), clip.get_text_features(words))
    rows = [getattr(side, "pooler_output", side).numpy() for side in found]
    return dict(zip(MODALITIES, rows, strict=True))


FOLDING = [
    OrthogonalProcrustes(center=False),
    SharedSpaceProjection(),
    SpectralAligner(n_components=5, negative="raise"),
]


@pytest.mark.parametrize("aligner", FOLDING, ids=lambda aligner: type(aligner).__name__)
@pytest.mark.filterwarnings("ignore:.* have a degree that is not positive")
def test_folded_towers_give_aligned_cosines(clip: Any, aligner: Any) -> None:
    # Positive rows, so that every degree of the spectral graph is positive; the map is then
    # applied to whatever the towers give.
    aligner.fit(*(np.abs(side) for side in make_gapped(60, SIZE, seed=3)))
    raw = features(clip)
    with np.errstate(all="ignore"):
        expected = {m: MixedSpace(aligner).align_documents(raw[m], m) for m in MODALITIES}
    kept = clip.visual_projection, clip.text_projection
    before = kept[0].weight.detach().clone()
    try:
        clip.visual_projection = fold(aligner, kept[0], "image")
        clip.text_projection = fold(aligner, kept[1], "text")
        folded = features(clip)
    finally:
        clip.visual_projection, clip.text_projection = kept
    assert needed("torch").equal(kept[0].weight, before)
    unit = {m: rows / np.linalg.norm(rows, axis=1, keepdims=True) for m, rows in folded.items()}
    for modality in MODALITIES:
        assert unit[modality] == pytest.approx(expected[modality], abs=1e-5)


def test_a_bias_is_folded_too() -> None:
    torch = needed("torch")
    aligner = OrthogonalProcrustes(center=False).fit(*make_gapped(60, SIZE, seed=4))
    layer, rows = torch.nn.Linear(7, SIZE), torch.rand((5, 7))
    folded = fold(aligner, layer, "image")(rows).detach().numpy()
    expected = aligner.transform(layer(rows).detach().numpy())
    unit = folded / np.linalg.norm(folded, axis=1, keepdims=True)
    assert unit == pytest.approx(expected, abs=1e-5)


def test_what_cannot_be_folded_is_refused() -> None:
    torch = needed("torch")
    sides = make_gapped(60, SIZE, seed=5)
    layer = torch.nn.Linear(7, SIZE, bias=False)
    rotation = OrthogonalProcrustes(center=False).fit(*sides)
    offers = "must have no offset to be folded .* Append torch_module"
    for source, projection, words in (
        (MeanCentering().fit(*sides), layer, offers),
        (OrthogonalProcrustes().fit(*sides), layer, offers),
        (rotation, torch.nn.Linear(7, 9), "must have 12 outputs, .* got 9"),
        (rotation, torch.nn.ReLU(), r"must be a torch.nn.Linear, got ReLU"),
        (small_space(), layer, "must be an aligner without calibration"),
        (nearest(), layer, "must be an affine map"),
    ):
        with pytest.raises((InputError, InputTypeError), match=words):
            fold(source, projection, "image")

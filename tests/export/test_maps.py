"""ONNX graphs and PyTorch modules give what NumPy gives; what they cannot do is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from sklearn.exceptions import NotFittedError

from aligner_table import ROWS, Row
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
from worlds import make_gapped

MODALITIES = ("image", "text")
SIZE = 12
Outputs = dict[str, np.ndarray]
Run = Callable[..., Outputs]


def onnx_outputs(space: Any, modality: Any, rows: np.ndarray, **given: Any) -> Outputs:
    """Run a graph in ONNX Runtime, and return its outputs by name."""
    graph = onnx_model(space, modality, **given).SerializeToString()
    session = needed("onnxruntime").InferenceSession(graph, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    narrow = rows.astype(given.get("dtype", "float32"))
    return dict(zip(names, session.run(names, {"rows": narrow}), strict=True))


def torch_outputs(space: Any, modality: Any, rows: np.ndarray, role: Any = "document") -> Outputs:
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
def outputs(request: pytest.FixtureRequest) -> Run:
    """What computes the map of a modality, as a graph and as a module."""
    needed(request.param)
    return onnx_outputs if request.param == "onnx" else torch_outputs


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_every_method_is_exported(
    outputs: Run, row: Row, gapped: tuple[np.ndarray, np.ndarray]
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


def test_real_rows_to_a_millionth(coco: tuple[np.ndarray, np.ndarray], outputs: Run) -> None:
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


def test_queries_have_their_own_map_where_they_have_their_own_mean(outputs: Run) -> None:
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
def test_an_offset_after_nnn_is_exported(outputs: Run, make: Callable[[], Calibration]) -> None:
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
        found = onnx_outputs(space, "image", rows, dtype="float16")
        assert found["aligned"].dtype == np.float32
        assert found["aligned"] == pytest.approx(space.align_documents(rows, "image"), abs=1e-6)
        stored = space.stored(rows.astype(np.float32), document="image", query="text")
        assert found["stored_for_text_queries"] == pytest.approx(stored, rel=1e-5, abs=1e-4)


def test_no_row_leaves_the_range_and_a_zero_row_is_seen(outputs: Run) -> None:
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
    told = {item.key: item.value for item in model.metadata_props}
    assert (told["fillgap.fingerprint"], told["fillgap.modality"]) == (space.fingerprint, "text")
    assert model.opset_import[0].version == 13
    assert model.SerializeToString() == onnx_model(space, "text").SerializeToString()


def test_a_module_is_saved_and_passes_gradients() -> None:
    torch = needed("torch")
    module, other = (torch_module(small_space(), side) for side in MODALITIES)
    assert not list(module.parameters())
    rows = torch.rand((3, SIZE), requires_grad=True)
    module(rows).sum().backward()
    assert torch.isfinite(rows.grad).all()
    other.load_state_dict(module.state_dict())
    assert torch.equal(other(rows), module(rows))


def nearest() -> LaplaceTransport:
    aligner = LaplaceTransport(max_iter=2, tol=1.0, extension="nearest")
    return aligner.fit(*make_gapped(60, SIZE, seed=5))


FOLDING = [
    OrthogonalProcrustes(center=False),
    SharedSpaceProjection(),
    SpectralAligner(n_components=5, negative="raise"),
]


@pytest.mark.parametrize("aligner", FOLDING, ids=lambda aligner: type(aligner).__name__)
@pytest.mark.parametrize("bias", [False, True])
def test_a_folded_layer_gives_aligned_cosines(aligner: Any, bias: bool) -> None:
    torch = needed("torch")
    # Positive rows, so that every degree of the spectral graph is positive.
    aligner.fit(*(np.abs(side) for side in make_gapped(60, SIZE, seed=3)))
    layer, rows = torch.nn.Linear(7, SIZE, bias=bias), torch.rand((5, 7))
    torch.nn.init.uniform_(layer.weight)
    before = layer.weight.detach().clone()
    for modality in MODALITIES:
        folded = fold(aligner, layer, modality)(rows).detach().numpy()
        unit = folded / np.linalg.norm(folded, axis=1, keepdims=True)
        raw = layer(rows).detach().numpy()
        assert unit == pytest.approx(MixedSpace(aligner).align_documents(raw, modality), abs=1e-5)
    assert torch.equal(layer.weight, before)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: onnx_model(MeanCentering(), "image"), "must be fitted before it is exported"),
        (lambda: onnx_model(nearest(), "image"), "must be an affine map .* extension='affine'"),
        (lambda: onnx_model({}, "image"), "must be a MixedSpace or a fitted aligner, got dict"),
        (lambda: onnx_model(small_space(), "images"), "the modality must be one of"),
        (lambda: onnx_model(small_space(), "image", dtype="int8"), "dtype must be one of"),
        (lambda: onnx_model(small_space(), "image", role="both"), "role must be one of"),
        *[
            (lambda k=kind, r=role: onnx_model(hubness_space(k()), "image", role=r), words)
            for role in ("document", "query")
            for kind, words in (
                (QBNorm, "one map for all .* after NNN, got QBNorm.* Keep vectors of space.stored"),
                (CSLS, "one map for all .* after NNN, got CSLS.* Apply space.calibrate"),
            )
        ],
        (
            lambda: torch_module(small_space(), "text", role="query", queries="image"),
            "queries must be 'text' for text queries, got 'image'",
        ),
        (lambda: folded(MeanCentering()), "must have no offset to be folded .* Append torch_modul"),
        (lambda: folded(OrthogonalProcrustes()), "must have no offset to be folded"),
        (lambda: folded(outputs=9), "must have 12 outputs, .* got 9"),
        (lambda: fold(small_space(), None, "image"), "must be an aligner without calibration"),
        (lambda: fold(nearest(), None, "image"), "must be an affine map"),
        (lambda: folded(layer="ReLU"), r"must be a torch.nn.Linear, got ReLU"),
    ],
)
def test_what_cannot_be_exported_is_refused(call: Callable[[], Any], words: str) -> None:
    needed("onnx")
    needed("torch")
    with pytest.raises((InputError, InputTypeError, NotFittedError), match=words):
        call()


def folded(aligner: Any = FOLDING[0], *, layer: str = "Linear", outputs: int = SIZE) -> None:
    nn = needed("torch").nn
    projection = nn.Linear(7, outputs, bias=False) if layer == "Linear" else nn.ReLU()
    fold(aligner.fit(*make_gapped(60, SIZE, seed=5)), projection, "image")

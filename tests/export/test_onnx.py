"""ONNX graphs give what NumPy gives, and what they cannot do is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from sklearn.exceptions import NotFittedError

from aligner_table import ROWS, Row
from conftest import make_gapped
from export_spaces import (
    AFTER_NNN,
    bank_rows,
    calibrated,
    hubness_space,
    needed,
    small_space,
)
from fillgap import InputError, InputTypeError
from fillgap.aligners import LaplaceTransport, MeanCentering, Whitening
from fillgap.calibration import CSLS, Calibration, QBNorm, Sides
from fillgap.export import onnx_model
from fillgap.space import MixedSpace

MODALITIES = ("image", "text")


def ran(model: Any, rows: np.ndarray) -> dict[str, np.ndarray]:
    """Run a model in ONNX Runtime, and return its outputs by name."""
    runtime = needed("onnxruntime")
    session = runtime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, {"rows": rows}), strict=True))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_every_method_is_a_graph(row: Row, gapped: tuple[np.ndarray, np.ndarray]) -> None:
    needed("onnx")
    space = MixedSpace(row.make().fit(*gapped))
    for modality, rows in zip(MODALITIES, gapped, strict=True):
        expected = space.align_documents(rows, modality)
        found = ran(onnx_model(space, modality), rows.astype(np.float32))
        assert set(found) == {"aligned"}
        assert found["aligned"] == pytest.approx(expected, abs=2e-6)


def test_real_rows_to_a_millionth(coco: tuple[np.ndarray, np.ndarray]) -> None:
    needed("onnx")
    narrow = [side.astype(np.float32) for side in coco]
    for aligner in (MeanCentering(), Whitening()):
        space = calibrated(aligner.fit(*coco), *coco)
        for modality, rows in zip(MODALITIES, narrow, strict=True):
            found = ran(onnx_model(space, modality), rows)
            expected = space.align_documents(rows, modality)
            assert np.abs(found["aligned"] - expected).max() < 1e-6
            for query in MODALITIES:
                stored = space.stored(rows, document=modality, query=query)
                slope = np.linalg.norm(stored[:, :-1], axis=1).max()
                name = f"stored_for_{query}_queries"
                assert np.abs(found[name] - stored).max() < 1e-6 * slope
            asked = space.asked(rows, query=modality)
            assert np.abs(found["asked"] - asked).max() < 1e-6


def test_scores_of_graphs_are_calibrated_scores() -> None:
    needed("onnx")
    space = small_space()
    X, Y = (side.astype(np.float32) for side in make_gapped(30, 12, seed=2))
    images, texts = (
        ran(onnx_model(space, m), rows) for m, rows in zip(MODALITIES, (X, Y), strict=True)
    )
    found = texts["asked"] @ images["stored_for_text_queries"].T
    cosines = space.align_queries(Y, "text") @ space.align_documents(X, "image").T
    expected = space.calibrate(cosines, query="text", document="image")
    assert found == pytest.approx(expected, rel=1e-5, abs=1e-5)


def test_queries_have_their_own_graph_where_they_have_their_own_mean() -> None:
    needed("onnx")
    space = small_space(query_means=True)
    rows = make_gapped(20, 12, seed=3)[1].astype(np.float32)
    documents = ran(onnx_model(space, "text"), rows)
    queries = ran(onnx_model(space, "text", role="query"), rows)
    assert set(queries) == {"aligned", "asked"}
    assert "asked" not in documents
    assert queries["aligned"] == pytest.approx(space.align_queries(rows, "text"), abs=2e-6)
    assert documents["aligned"] == pytest.approx(space.align_documents(rows, "text"), abs=2e-6)
    assert np.abs(queries["aligned"] - documents["aligned"]).max() > 0.01


@pytest.mark.parametrize("n", [1, 7])
def test_half_precision_and_any_number_of_rows(n: int) -> None:
    needed("onnx")
    space = small_space()
    rows = make_gapped(8, 12, seed=4)[0][:n].astype(np.float16)
    found = ran(onnx_model(space, "image", dtype="float16"), rows)["aligned"]
    assert found.dtype == np.float32
    assert found == pytest.approx(space.align_documents(rows, "image"), abs=1e-6)


def test_no_row_leaves_the_range_and_a_zero_row_is_seen() -> None:
    needed("onnx")
    space = small_space()
    rows = make_gapped(8, 12, seed=5)[0].astype(np.float32)
    model = onnx_model(space, "image")
    expected = ran(model, rows)["aligned"]
    for scale in (1e-30, 1e30):
        assert ran(model, rows * np.float32(scale))["aligned"] == pytest.approx(expected, abs=2e-6)
    rows[3] = 0
    found = ran(model, rows)["aligned"]
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


def test_what_is_no_affine_map_is_refused(gapped: tuple[np.ndarray, np.ndarray]) -> None:
    needed("onnx")
    with pytest.raises(NotFittedError, match="must be fitted before it is exported"):
        onnx_model(MeanCentering(), "image")
    nearest = LaplaceTransport(max_iter=2, extension="nearest").fit(*gapped)
    with pytest.raises(InputError, match="must be an affine map .* extension='affine'"):
        onnx_model(nearest, "image")
    with pytest.raises(InputTypeError, match="must be a MixedSpace or a fitted aligner, got dict"):
        onnx_model({}, "image")
    space = small_space()
    with pytest.raises(InputError, match="the modality must be one of"):
        onnx_model(space, "images")
    with pytest.raises(InputError, match="dtype must be one of"):
        onnx_model(space, "image", dtype="int8")
    with pytest.raises(InputError, match="role must be one of"):
        onnx_model(space, "image", role="both")


@pytest.mark.parametrize("make", AFTER_NNN)
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_an_offset_after_nnn_is_in_the_graph(make: Callable[[], Calibration], dtype: str) -> None:
    needed("onnx")
    space = hubness_space(make())
    for modality, given in zip(MODALITIES, bank_rows(), strict=True):
        rows = given.astype(dtype)
        found = ran(onnx_model(space, modality, dtype=dtype), rows)
        assert set(found) == {
            "aligned", "asked", "stored_for_image_queries", "stored_for_text_queries"
        }  # fmt: skip
        for query in MODALITIES:
            expected = space.stored(rows.astype(np.float32), document=modality, query=query)
            got = found[f"stored_for_{query}_queries"]
            assert got == pytest.approx(expected, rel=1e-5, abs=1e-4)
            assert np.ptp(got[:, -1]) > 0.01


@pytest.mark.parametrize(
    ("hubness", "remedy"),
    [(QBNorm, "Keep vectors of space.stored"), (CSLS, "Apply space.calibrate")],
)
@pytest.mark.parametrize("role", ["document", "query"])
def test_an_offset_for_each_document_is_refused(hubness: type, remedy: str, role: str) -> None:
    needed("onnx")
    aligner = small_space().aligner
    X, Y = make_gapped(40, aligner.n_features_in_, seed=7)
    aligned = Sides(*aligner.transform_pair(X, Y))
    space = MixedSpace(aligner, hubness().fit(aligned, aligned))
    name = hubness.__name__
    with pytest.raises(
        InputError, match=f"one map for all documents .* after NNN, got {name}.* {remedy}"
    ):
        onnx_model(space, "image", role=role)

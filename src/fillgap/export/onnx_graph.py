"""Spaces as ONNX: one small graph for each modality, of operators that every runtime has."""

from __future__ import annotations

from typing import Any

import numpy as np

from fillgap.aligners.base import Aligner
from fillgap.calibration.base import ITSELF, Modality
from fillgap.errors import check_choice, require
from fillgap.export.maps import Bank, Role, RowMap, as_space, calibrated_pairs, query_shift, row_map
from fillgap.space import MixedSpace

#: The oldest pair in which every operator below is defined as it is used here.
_OPSET, _IR_VERSION = 13, 7
DTYPES = ("float32", "float16")
_INPUT, _ALIGNED = "rows", "aligned"
#: In the place of a score that does not count.
_NONE = -2.0


def onnx_model(
    source: MixedSpace | Aligner,
    modality: Modality,
    *,
    role: Role = "document",
    dtype: str = "float32",
) -> Any:
    """Return the map of one modality as an ONNX model.

    The graph takes `rows` of shape (n, n_features), any n, as the model gives them, and computes in
    float32. Its outputs are `aligned`, unit rows of shape (n, n_components), and where the space is
    calibrated, with one more column: of documents `stored_for_image_queries` and
    `stored_for_text_queries`, of queries `asked`. The inner product of `asked` and `stored_for_…`
    is the calibrated score. Where queries and documents are mapped alike, one graph has all.

    A graph cannot refuse: a row that is zero, NaN or infinite comes out as NaN.

    Parameters
    ----------
    source : MixedSpace or Aligner
        Fitted, and affine.
    modality : {"image", "text"}
        Of the rows.
    role : {"document", "query"}
        What the rows are in a search. It matters where the space has means of queries.
    dtype : {"float32", "float16"}
        Of the input; the outputs are float32.

    Raises
    ------
    InputError
        If the space cannot be exported, or a word is none of these.
    ImportError
        If onnx is not installed.
    """
    onnx = require("onnx", "onnx", "Export to ONNX")
    space = as_space(source)
    check_choice(dtype, "dtype", DTYPES)
    trunk = row_map(space, modality, role=role)
    extended: dict[str, RowMap] = {}
    pairs = calibrated_pairs(space)
    both = query_shift(space, modality) is None
    for query, document in pairs if role == "document" or both else ():
        if document == modality:
            stored = row_map(space, modality, queries=query)
            extended[f"stored_for_{query}_queries"] = stored
    if (role == "query" or both) and any(query == modality for query, _ in pairs):
        extended["asked"] = row_map(space, modality, role="query", queries=modality)
    graph = _Graph(onnx)
    graph.add_trunk(trunk, half=dtype == "float16")
    for name, map_ in extended.items():
        graph.add_extended(map_, name)
    outputs = {_ALIGNED: trunk, **extended}
    helper, kinds = onnx.helper, onnx.TensorProto
    describe = helper.make_tensor_value_info
    given = kinds.FLOAT16 if dtype == "float16" else kinds.FLOAT
    model = helper.make_model(
        helper.make_graph(
            graph.nodes,
            f"fillgap_{modality}_{role}",
            [describe(_INPUT, given, ["n", trunk.n_features])],
            [describe(name, kinds.FLOAT, ["n", map_.n_outputs]) for name, map_ in outputs.items()],
            graph.constants,
        ),
        opset_imports=[helper.make_opsetid("", _OPSET)],
        ir_version=_IR_VERSION,
        producer_name="fillgap",
    )
    properties = {
        "fillgap.fingerprint": space.fingerprint,
        "fillgap.modality": modality,
        "fillgap.role": role,
        "fillgap.model": space.model or "",
    }
    helper.set_model_props(model, properties)
    onnx.checker.check_model(model, full_check=True)
    return model


class _Graph:
    """Nodes and constants as they are added."""

    def __init__(self, onnx: Any) -> None:
        self._onnx = onnx
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def add_trunk(self, map_: RowMap, *, half: bool) -> None:
        """Add the nodes from `rows` to `aligned`."""
        rows = _INPUT
        if half:
            rows = self._add("Cast", [rows], to=self._onnx.TensorProto.FLOAT)
        # Divided by the largest entry first, so that no square leaves the range of float32. Rows
        # without a direction become 0 / 0: a NaN is seen, a made-up vector is not.
        largest = self._add("ReduceMax", [self._add("Abs", [rows])], axes=[1], keepdims=1)
        rows = self._add("Div", [rows, largest])
        rows = self._add("Div", [rows, self._length(rows)])
        for name, operator in (("center", "Sub"), ("matrix", "MatMul"), ("offset", "Add")):
            constant = getattr(map_, name)
            if constant is not None:
                rows = self._add(operator, [rows, self._constant(name, constant)])
        tiny = self._constant("tiny", np.finfo(np.float32).tiny)
        length = self._add("Max", [self._length(rows), tiny])  # a row sent to zero stays zero
        self._add("Div", [rows, length], output=_ALIGNED)

    def add_extended(self, map_: RowMap, name: str) -> None:
        """Add the nodes from `aligned` to an output with the coordinate of the calibration."""
        rows = _ALIGNED
        if map_.slope != 1:
            rows = self._add("Mul", [rows, self._constant(f"{name}.slope", map_.slope)])
        extra = self._constant(f"{name}.extra", map_.extra)
        if map_.bank is None:
            pads = self._constant("pads", np.array([0, 0, 0, 1]), np.int64)
            self._add("Pad", [rows, pads, extra], output=name)
            return
        extra = self._add("Sub", [extra, self._hubness(map_.bank, name)])
        self._add("Concat", [rows, extra], output=name, axis=1)

    def _hubness(self, bank: Bank, name: str) -> str:
        """Add the nodes from `aligned` to what the extra coordinate is lowered by, one column."""
        turned = self._constant(f"{name}.bank", bank.rows.T)
        scores = self._add("MatMul", [_ALIGNED, turned])
        if bank.apart:
            others = self._add("Less", [scores, self._constant("itself", ITSELF)])
            scores = self._add("Where", [others, scores, self._constant("none", _NONE)])
        k = self._constant(f"{name}.k", np.array([bank.k]), np.int64)
        best = f"{name}.best"
        self.nodes.append(
            self._onnx.helper.make_node("TopK", [scores, k], [best, f"{best}_at"], name=best)
        )
        there = self._add("Greater", [best, self._constant("none", _NONE)])
        kept = self._add("Where", [there, best, self._constant("zero", 0)])
        one = self._add("Cast", [there], to=self._onnx.TensorProto.FLOAT)
        axis = self._constant("axis", np.array([1]), np.int64)
        total, count = (self._add("ReduceSum", [part, axis], keepdims=1) for part in (kept, one))
        mean = self._add("Div", [total, self._add("Max", [count, self._constant("one", 1)])])
        return self._add("Mul", [mean, self._constant(f"{name}.weight", bank.weight)])

    def _length(self, rows: str) -> str:
        return self._add("ReduceL2", [rows], axes=[1], keepdims=1)

    def _add(self, operator: str, inputs: list[str], *, output: str = "", **attributes: Any) -> str:
        """Add a node and return the name of what it computes."""
        name = output or f"{operator.lower()}_{len(self.nodes)}"
        node = self._onnx.helper.make_node(operator, inputs, [name], name=name, **attributes)
        self.nodes.append(node)
        return name

    def _constant(self, name: str, value: Any, dtype: Any = np.float32) -> str:
        """Add a constant, once, and return its name."""
        if all(constant.name != name for constant in self.constants):
            array = np.asarray(value, dtype=dtype)
            self.constants.append(self._onnx.numpy_helper.from_array(array, name))
        return name

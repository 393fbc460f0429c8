"""The table of formats, and spaces written in one of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from fillgap.aligners.base import Aligner
from fillgap.calibration.base import MODALITIES, Modality
from fillgap.errors import InputError, require
from fillgap.export.maps import as_space, query_shift
from fillgap.export.modules import sentence_transformer_module
from fillgap.export.onnx_graph import onnx_model
from fillgap.export.recipes import ENGINES, did_you_mean, render_recipe
from fillgap.files import atomic_folder, check_target, missing_path
from fillgap.space import MixedSpace

#: Names on the command line, and what each is.
FORMATS: Final[dict[str, str]] = {
    "onnx": "a graph for each modality",
    "sentence-transformers": "a model with the space as its last module",
    **{engine: f"a recipe for {engine}" for engine in ENGINES},
}


def export_space(
    source: MixedSpace | Aligner,
    format: str,  # noqa: A002  (the word of the command line)
    out: str | Path,
    *,
    name: str = "items",
    dtype: str = "float32",
    model: str | Path | None = None,
    queries: Modality | None = None,
    overwrite: bool = False,
) -> list[Path]:
    """Write a space as what another program reads: a folder, whole or not at all.

    Parameters
    ----------
    source : MixedSpace or Aligner
        Fitted.
    format : str
        "onnx", "sentence-transformers", or the name of an engine: "qdrant", "opensearch", "vespa",
        "milvus" or "pgvector".
    out : str or path
        The folder.
    name : str
        Of the collection, index or table, for an engine.
    dtype : {"float32", "float16"}
        Of the input, for ONNX.
    model : str or path, optional
        Folder of the model that the module is appended to, for sentence-transformers.
    queries : {"image", "text"}, optional
        Add the coordinate of the calibration for queries of this modality, for
        sentence-transformers.
    overwrite : bool
        Whether files in a folder that exists may be replaced.

    Raises
    ------
    InputError
        If there is no such format, the space cannot be exported, or the folder cannot be written.
    ImportError
        If the format needs a package that is not installed.
    """
    if format not in FORMATS:
        remedy = did_you_mean(format, FORMATS)
        if "torch" in str(format).lower():
            remedy = "A module of PyTorch is made in Python, by fillgap.export.torch_module."
        raise InputError(
            f"the format must be one of {', '.join(FORMATS)}, got {format!r}. {remedy}"
        )
    space = as_space(source)
    target = check_target(out, inputs=[] if model is None else [model], overwrite=overwrite)
    if target.is_file():
        raise InputError(f"{target} must be a folder, got a file. Choose another name.")
    pipeline, files = None, dict[str, bytes]()
    if format == "onnx":  # a graph for each modality, and for queries that have their own map
        for modality in MODALITIES:
            graph = onnx_model(space, modality, dtype=dtype)
            files[f"{modality}.onnx"] = graph.SerializeToString()
            if query_shift(space, modality) is not None:
                graph = onnx_model(space, modality, role="query", dtype=dtype)
                files[f"{modality}_query.onnx"] = graph.SerializeToString()
    elif format == "sentence-transformers":
        pipeline = _pipeline(space, model, queries)
    else:
        recipe = render_recipe(space, format, name=name)
        files = {file: text.encode("utf-8") for file, text in recipe.items()}
    with atomic_folder(target) as folder:
        if pipeline is not None:
            pipeline.save(str(folder), create_model_card=False)
        for file, content in files.items():
            (folder / file).write_bytes(content)
        written = sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return [target / path for path in written]


def _pipeline(space: MixedSpace, model: str | Path | None, queries: Modality | None) -> Any:
    """Return a whole model of sentence-transformers with the module appended."""
    if model is None:
        raise InputError(
            "the model must be given for sentence-transformers, got none. "
            "Pass the folder of the model that made the embeddings (--model, model=)."
        )
    if not Path(model).is_dir():
        raise missing_path(Path(model))
    module = sentence_transformer_module(space, queries=queries)
    transformers = require("sentence_transformers", "encoders", "A module of sentence-transformers")
    try:
        pipeline = transformers.SentenceTransformer(str(model), device="cpu", local_files_only=True)
    except (OSError, ValueError) as error:
        raise InputError(
            f"{model} must be a model of sentence-transformers, got one that cannot be loaded "
            f"({str(error).partition(chr(10))[0][:200]}). Save the model there again."
        ) from error
    n_features = pipeline.get_embedding_dimension()
    if n_features is not None and n_features != space.n_features:
        raise InputError(
            f"the model must give embeddings of dimension {space.n_features}, as the space takes "
            f"them, got {n_features}. Pass the model that the space was made for."
        )
    pipeline.append(module)
    return pipeline

"""Spaces in the form that other programs read: ONNX, PyTorch, sentence-transformers, recipes."""

from fillgap.export.formats import export_space
from fillgap.export.modules import fold, sentence_transformer_module, torch_module
from fillgap.export.onnx_graph import onnx_model
from fillgap.export.recipes import render_recipe

__all__ = [
    "export_space",
    "fold",
    "onnx_model",
    "render_recipe",
    "sentence_transformer_module",
    "torch_module",
]
